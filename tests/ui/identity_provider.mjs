// A certified OpenID provider, with a page on which anybody signs in by a name: `ada` is in the group of operators,
// `grace` in that of guests, everybody else in none.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.CLIENTS + "/");
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const [port, back] = process.argv.slice(2);
const groups = { ada: ["operators", "guests"], grace: ["guests"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "penstock", client_secret: "a secret/of+the tests", redirect_uris: [back] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: id, groups: groups[id] ?? [] }),
  }),
  pkce: { required: () => true },
  cookies: { keys: ["of the tests"] },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
