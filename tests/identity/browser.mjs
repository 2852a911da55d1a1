// Drives Chromium with its virtual authenticator (WebAuthn section 11.2) through the real endpoints, and prints what
// each step returned as JSON. test_browser.py checks it.
//
// node browser.mjs <chromium> <app origin> <other origin> <function key> <user> <example page> <its origin>
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [executablePath, origin, otherOrigin, functionKey, user, example, exampleOrigin] = process.argv.slice(2);
const password = "correct horse battery staple";
const results = { origin };
let signCount = 0;

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext();
context.setDefaultTimeout(90_000); // A machine that does other work is slow.
const page = await context.newPage();
// The pages are empty. All other requests reach the app.
for (const each of [origin, otherOrigin]) {
  await context.route(`${each}/page`, (route) => route.fulfill({ contentType: "text/html", body: "<title>page</title>" }));
}
await page.goto(`${origin}/page`);
const cdp = await context.newCDPSession(page);
await cdp.send("WebAuthn.enable");
const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
  options: {
    protocol: "ctap2",
    ctap2Version: "ctap2_1",
    transport: "internal",
    hasResidentKey: true,
    hasUserVerification: true,
    isUserVerified: true,
    automaticPresenceSimulation: true,
  },
});

async function call(path, fields, token, method = "POST") {
  return page.evaluate(
    async ({ path, fields, token, method, functionKey }) => {
      const headers = { "content-type": "application/json", "x-functions-key": functionKey };
      if (token) headers.authorization = `Bearer ${token}`;
      const body = method === "POST" ? JSON.stringify(fields) : undefined;
      const response = await fetch(`/api/${path}`, { method, headers, body });
      const text = await response.text();
      return { status: response.status, ...(text ? JSON.parse(text) : {}) };
    },
    { path, fields, token, method, functionKey },
  );
}

const create = (options) =>
  page.evaluate(async (options) => {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return (await navigator.credentials.create({ publicKey, signal: AbortSignal.timeout(60_000) })).toJSON();
  }, options);

const get = (options, on = page) =>
  on.evaluate(async (options) => {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return (await navigator.credentials.get({ publicKey, signal: AbortSignal.timeout(60_000) })).toJSON();
  }, options);

async function passkeySignIn(fields, change = (options) => options, token = undefined) {
  const begun = await call("sign-in/passkey", fields);
  return call("sign-in", { ticket: begun.ticket, passkey: await get(change(begun.options)) }, token);
}

// A page with an authenticator of its own, which has a copy of the credential.
async function pageWithCopy(origin, options) {
  const copy = await context.newPage();
  await copy.goto(`${origin}/page`);
  const session = await context.newCDPSession(copy);
  await session.send("WebAuthn.enable");
  const added = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", hasResidentKey: true, automaticPresenceSimulation: true, ...options },
  });
  // Its counter is far ahead, so that the counter of the original does not matter.
  const [credential] = (await cdp.send("WebAuthn.getCredentials", { authenticatorId })).credentials;
  signCount += 100;
  await session.send("WebAuthn.addCredential", {
    authenticatorId: added.authenticatorId,
    credential: { ...credential, signCount },
  });
  return copy;
}

async function setSignCount(count) {
  const [credential] = (await cdp.send("WebAuthn.getCredentials", { authenticatorId })).credentials;
  await cdp.send("WebAuthn.removeCredential", { authenticatorId, credentialId: credential.credentialId });
  await cdp.send("WebAuthn.addCredential", { authenticatorId, credential: { ...credential, signCount: count } });
}

// The code of an authenticator app (RFC 6238).
function codeNow(secret) {
  const bits = [...secret].map((each) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(each).toString(2).padStart(5, "0")).join("");
  const seed = Buffer.from(bits.match(/.{8}/g).map((each) => Number.parseInt(each, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac("sha1", seed).update(step).digest();
  const offset = mac.at(-1) & 15;
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

// The example page of the documentation, as a person uses it.
async function tryExample() {
  const errors = [];
  const shown = await context.newPage();
  shown.on("pageerror", (error) => errors.push(String(error)));
  // From a real server: Chromium lets only pages of the same machine call an app on it.
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(readFileSync(example));
  });
  await new Promise((resolve) => server.listen(Number(new URL(exampleOrigin).port), "localhost", resolve));
  await shown.goto(`${exampleOrigin}/example?api=${origin}/api`);
  const session = await context.newCDPSession(shown);
  await session.send("WebAuthn.enable");
  await session.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  shown.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  results.exampleErrors = errors;
  const steps = {};
  const signedIn = async (step) => {
    await shown.waitForSelector("#signed-in:not([hidden])");
    await shown.waitForFunction(() => document.getElementById("amr").textContent !== "");
    steps[step] = await shown.textContent("#amr");
  };
  const signOut = async () => {
    await shown.click("#sign-out");
    await shown.waitForSelector("#signed-out:not([hidden])");
    await shown.evaluate(() => (document.getElementById("amr").textContent = ""));
  };
  const withPassword = async () => {
    await shown.fill("#password-form [name=user]", `example-${user}`);
    await shown.fill("#password-form [name=password]", password);
    await shown.click("#password-form button:not([type])");
    await shown.waitForSelector("#factor-form:not([hidden])");
  };
  await shown.fill("#password-form [name=user]", `example-${user}`);
  await shown.fill("#password-form [name=password]", password);
  await shown.click("#sign-up");
  await signedIn("signUp");
  await shown.click("#add-totp");
  await shown.waitForSelector("#qr svg");
  await shown.fill("#totp-form [name=code]", codeNow(await shown.textContent("#secret")));
  await shown.click("#totp-form button");
  await shown.waitForSelector("#recovery:not([hidden])");
  const codes = (await shown.textContent("#codes")).split("\n");
  await signOut();
  await withPassword();
  await shown.fill("#factor-form [name=code]", codes[0]);
  await shown.click("#factor-form button:not([type])");
  await signedIn("recoveryCode");
  await shown.click("#add-passkey");
  await shown.waitForFunction(() => document.querySelectorAll("#factors li").length === 2);
  steps.factors = await shown.locator("#factors li").allTextContents();
  await signOut();
  await shown.click("#passkey");
  await signedIn("passkey");
  await signOut();
  await withPassword();
  await shown.click("#factor-passkey");
  await signedIn("second");
  await shown.close();
  server.close();
  return { codes: codes.length, errors, ...steps };
}

try {
  const signedUp = await call("sign-up", { user, password });
  results.signUp = signedUp;
  const begun = await call("me/passkeys/begin", {}, signedUp.access_token);
  const credential = await create(begun.options);
  const registration = { ticket: begun.ticket, credential, label: "Laptop" };
  results.register = await call("me/passkeys", registration, signedUp.access_token);
  results.registerAgain = await call("sign-in", { ticket: begun.ticket, passkey: await get({ ...(await call("sign-in/passkey", {})).options, challenge: begun.options.challenge }) });
  results.withoutName = await passkeySignIn({});
  results.withName = await passkeySignIn({ user });
  results.factors = await call("me/factors", undefined, results.withName.access_token, "GET");

  results.passwordAlone = await call("sign-in", { user, password });
  results.secondFactor = await passkeySignIn({ ticket: results.passwordAlone.ticket });
  results.spentTicket = await passkeySignIn({ ticket: results.passwordAlone.ticket }).catch((error) => ({ error: String(error) }));

  // A second passkey, after a sign-in with the first: the authenticator refuses the excluded one.
  const again = await call("me/passkeys/begin", {}, results.secondFactor.access_token);
  results.excluded = await create(again.options).then(() => "created", (error) => /InvalidStateError/.exec(error.message)?.[0]);

  // An authenticator without user verification has the same credential.
  await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
  results.unverifiedRefusedByBrowser = await passkeySignIn({}).then(() => "signed in", (error) => /NotAllowedError/.exec(error.message)?.[0]);
  await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
  const plain = await pageWithCopy(origin, { hasUserVerification: false, transport: "internal" });
  const discouraged = (options) => ({ ...options, userVerification: "discouraged" });
  const unverified = await call("sign-in/passkey", { user });
  results.unverified = await call("sign-in", { ticket: unverified.ticket, passkey: await get(discouraged(unverified.options), plain) });
  const ticket = (await call("sign-in", { user, password })).ticket;
  const second = await call("sign-in/passkey", { ticket });
  results.unverifiedSecondFactor = await call("sign-in", { ticket: second.ticket, passkey: await get(second.options, plain) });
  await plain.close();
  await page.bringToFront();

  // A page of another origin of the same RP id uses the challenge of a sign-in.
  const other = await pageWithCopy(otherOrigin, { hasUserVerification: true, isUserVerified: true, transport: "internal" });
  const challenge = await call("sign-in/passkey", {});
  results.otherOrigin = await call("sign-in", { ticket: challenge.ticket, passkey: await get(challenge.options, other) });
  await other.close();
  await page.bringToFront();

  // A copy of the credential, with the counter of before.
  await setSignCount(signCount + 100);
  results.beforeClone = await passkeySignIn({});
  results.afterCopy = await passkeySignIn({});
  await setSignCount(signCount + 100);
  results.clone = await passkeySignIn({});

  // A page of another origin shows a page of the app's origin in a frame.
  const framing = await pageWithCopy(otherOrigin, { hasUserVerification: true, isUserVerified: true, transport: "internal" });
  await framing.setContent(`<iframe src="${origin}/page" allow="publickey-credentials-get *"></iframe>`);
  const frame = await (await framing.waitForSelector("iframe")).contentFrame();
  await frame.waitForLoadState();
  const inFrame = await call("sign-in/passkey", {});
  const framed = await get(inFrame.options, frame);
  results.frameClientData = JSON.parse(Buffer.from(framed.response.clientDataJSON, "base64url"));
  results.frame = await call("sign-in", { ticket: inFrame.ticket, passkey: framed });
  await framing.close();
  await page.bringToFront();

  results.example = await tryExample();
} catch (error) {
  results.error = String(error.stack ?? error);
} finally {
  console.log(JSON.stringify(results));
  await browser.close();
  process.exit(); // After an error, the server of the example page still runs.
}
