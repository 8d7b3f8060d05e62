// What pages do beyond their HTML. Every page can be read without it, and every form sent.
"use strict";
(() => {
  const root = document.documentElement;
  const content = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
  const base = content("page-base");
  const token = content("page-token");

  // The menu is open beside the page, and closed above it.
  const menu = document.getElementById("menu");
  const wide = matchMedia("(min-width: 50.01rem)");
  const setMenu = () => { if (menu) { menu.open = wide.matches; menu.dataset.set = ""; } };
  setMenu();
  wide.addEventListener("change", setMenu);

  // The theme: the system's, light, dark.
  const themes = ["system", "light", "dark"];
  const themeNow = () => root.dataset.theme ?? "system";
  for (const button of document.querySelectorAll("[data-theme-button]")) {
    const name = button.querySelector("[data-theme-name]");
    name.textContent = themeNow();
    button.hidden = false;
    button.addEventListener("click", () => {
      const next = themes[(themes.indexOf(themeNow()) + 1) % themes.length];
      if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
      try { localStorage.setItem("penstock-theme", next); } catch { /* it holds for this page */ }
      name.textContent = next;
      for (const one of document.querySelectorAll("[data-chart]")) draw(one);
    });
  }

  // Times, in the reader's own zone.
  const long = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
  const steps = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
  function told(element) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    if (!("ago" in element.dataset)) { element.textContent = long.format(at); return; }
    const apart = (at.getTime() - Date.now()) / 1000;
    const [, unit, length] = steps.find(([limit]) => Math.abs(apart) < limit);
    element.textContent = relative.format(Math.round(apart / length), unit);
    element.title = long.format(at);
  }
  const tellTimes = (within = document) => within.querySelectorAll("time").forEach(told);
  setInterval(() => document.querySelectorAll("time[data-ago]").forEach(told), 10_000);

  // What can be copied.
  function showCopies(within = document) {
    for (const button of within.querySelectorAll("[data-copy]")) button.hidden = false;
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const from = button.dataset.copy ? document.querySelector(button.dataset.copy) : button.parentElement.querySelector("code");
    const text = "value" in from ? from.value : from.textContent;
    const before = button.textContent;
    try { await navigator.clipboard.writeText(text); } catch { copyOld(text); }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  });
  function copyOld(text) {  // without TLS a browser has no clipboard for pages
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  // Questions before what cannot be undone.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = event.submitter?.dataset.ask ?? form.dataset.ask;
    if (!question || form.dataset.asked) return;
    event.preventDefault();
    const dialog = document.createElement("dialog");
    const text = Object.assign(document.createElement("p"), { textContent: question });
    const row = Object.assign(document.createElement("div"), { className: "actions" });
    const no = Object.assign(document.createElement("button"), { type: "button", textContent: "Cancel" });
    const yes = Object.assign(document.createElement("button"), { type: "button", className: "bad", textContent: event.submitter?.textContent?.trim() || "Yes" });
    row.append(no, yes);
    dialog.append(text, row);
    document.body.append(dialog);
    dialog.addEventListener("close", () => dialog.remove());
    no.addEventListener("click", () => dialog.close());
    yes.addEventListener("click", () => {
      dialog.close();
      form.dataset.asked = "yes";
      form.requestSubmit(event.submitter ?? undefined);
      delete form.dataset.asked;
    });
    dialog.showModal();
  }, true);

  // Requests of htmx prove that they come from this page.
  document.addEventListener("htmx:configRequest", (event) => { event.detail.headers["x-page-token"] = token; });
  document.addEventListener("htmx:beforeSwap", (event) => {  // a chart that goes takes its listeners with it
    for (const figure of event.detail.target?.querySelectorAll?.("[data-chart]") ?? []) plots.get(figure)?.destroy();
  });
  document.addEventListener("htmx:afterSwap", (event) => dress(event.detail.elt ?? event.target));

  // Charts. A figure holds its data as JSON: {"times": [unix seconds], "series": [{"name", "values", "unit"?}]}.
  const plots = new WeakMap();
  const colours = ["--s1", "--s2", "--s3", "--s4", "--s5", "--s6"];
  const units = {
    "": (v) => (Math.abs(v) >= 10_000 ? compact.format(v) : plain.format(v)),
    $: (v) => "$" + (v !== 0 && Math.abs(v) < 0.01 ? v.toPrecision(2) : plain.format(v)),
    s: (v) => (v < 1 ? plain.format(v * 1000) + " ms" : plain.format(v) + " s"),
    "%": (v) => plain.format(v * 100) + " %",
  };
  const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
  const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
  function draw(figure) {
    if (typeof uPlot === "undefined") return;
    const source = figure.querySelector('script[type="application/json"]');
    const data = JSON.parse(source.textContent || "{}");
    const place = figure.querySelector(".plot");
    plots.get(figure)?.destroy();
    const series = data.series ?? [];
    if (!data.times?.length || !series.length) { place.textContent = ""; return; }
    const write = units[figure.dataset.unit] ?? units[""];
    const style = getComputedStyle(root);
    const ink = style.getPropertyValue("--dim"), line = style.getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const bars = figure.dataset.kind === "bars";
    const made = new uPlot({
      width: place.clientWidth || 300,
      height: Number(figure.dataset.height) || 180,
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.08] } },
      axes: [axis, { ...axis, size: 62, values: (_, all) => all.map(write) }],
      series: [{}, ...series.map((one, i) => {
        const colour = style.getPropertyValue(colours[i % colours.length]);
        return {
          label: one.name, stroke: colour, width: 1.8, spanGaps: false, points: { show: data.times.length < 3 },
          fill: series.length === 1 || bars ? colour + "22" : undefined,
          paths: bars ? uPlot.paths.bars({ size: [0.8, 60] }) : undefined,
        };
      })],
      hooks: { setCursor: [(plot) => legend(figure, series, plot.cursor.idx, write, data.times)] },
    }, [data.times, ...series.map((one) => one.values)], place);
    plots.set(figure, made);
    legend(figure, series, null, write, data.times);
  }
  function legend(figure, series, at, write, times) {
    let list = figure.querySelector(".legend");
    if (!list) { list = Object.assign(document.createElement("div"), { className: "legend" }); figure.append(list); }
    list.replaceChildren(...series.map((one, i) => {
      const item = document.createElement("span");
      const mark = Object.assign(document.createElement("i"), { className: `s${(i % 6) + 1}` });
      const value = at === null || at === undefined ? one.values.findLast((v) => v !== null) : one.values[at];
      const number = Object.assign(document.createElement("b"), { textContent: value === null || value === undefined ? "–" : write(value) });
      item.append(mark, one.name + " ", number);
      return item;
    }));
    if (at !== null && at !== undefined) list.append(Object.assign(document.createElement("span"), { textContent: long.format(new Date(times[at] * 1000)) }));
  }
  let resized = 0;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      for (const figure of document.querySelectorAll("[data-chart]")) {
        const place = figure.querySelector(".plot");
        plots.get(figure)?.setSize({ width: place.clientWidth, height: Number(figure.dataset.height) || 180 });
      }
    }, 100);
  });

  // The same address as a script asks for it: the gateway's own URLs, as whoever is signed in.
  function ask(path, options = {}) {
    return fetch(`${base}/call${path}`, { ...options, headers: { ...options.headers, "x-page-token": token }, credentials: "same-origin" });
  }

  function dress(within) {
    tellTimes(within);
    showCopies(within);
    for (const figure of within.querySelectorAll("[data-chart]")) draw(figure);
    if (within.matches?.("[data-chart]")) draw(within);
  }
  window.penstock = { ask, draw, base, token, dress, units };
  addEventListener("load", () => dress(document));
  if (document.readyState === "complete") dress(document);
})();
