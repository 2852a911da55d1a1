// A real OpenID provider for tests: `node oidc_provider.mjs <port> <configuration as JSON>`. It prints a line once it listens.
import { Provider } from "oidc-provider";

const [port, text] = process.argv.slice(2);
const { clients, jwks, audience } = JSON.parse(text);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients,
  jwks,
  cookies: { keys: ["only for tests"] },
  claims: { openid: ["sub", "amr"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: "read write",
        audience,
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
