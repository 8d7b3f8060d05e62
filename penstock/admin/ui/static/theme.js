// Before the page is painted: the theme that somebody chose, if anybody did.
"use strict";
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("penstock-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's own theme holds.
}
