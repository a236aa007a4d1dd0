// A Chromium to start: the one that CHROMIUM names; on Linux x64 the pinned one from the npm registry; elsewhere one on
// PATH, or Chrome where it is usually installed. Run by itself, this unpacks the pinned one: tests that did so at the
// same time would disturb each other.
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

async function pinned() {
  const folder = fileURLToPath(new URL("node_modules/.chromium", import.meta.url));
  mkdirSync(folder, { recursive: true });
  const { TMPDIR } = process.env;
  process.env.TMPDIR = folder; // where the package unpacks to
  process.env.AWS_LAMBDA_JS_RUNTIME = "nodejs22.x"; // to it this means: bring your own shared libraries and fonts
  const { default: chromium } = await import("@sparticuz/chromium");
  const executable = await chromium.executablePath();
  if (TMPDIR === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = TMPDIR;
  return executable;
}

function onPath() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
  const folders = (process.env.PATH ?? "").split(delimiter);
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find((file) => existsSync(file));
}

const served = process.platform === "linux" && process.arch === "x64";
const executablePath = process.env.CHROMIUM || (served ? await pinned() : onPath());

// What playwright's launch() takes.
export const settings = executablePath ? { executablePath } : { channel: "chrome" };
