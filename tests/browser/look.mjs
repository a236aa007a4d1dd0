// Opens a page without a network, on a phone and on a desk, light and dark, and prints what is there as JSON:
//   node look.mjs page.html [folder for screenshots]
// The tests do without screenshots: of so long a page Chromium fails to take some when the machine is busy.
// Ends with status 3 if no browser can be started.
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { settings } from "./chromium.mjs";

const NO_BROWSER = 3;
const [page, folder] = process.argv.slice(2);
const looks = [390, 1280].flatMap((width) => ["light", "dark"].map((colorScheme) => ({ width, colorScheme })));

async function look(browser, { width, colorScheme }) {
  const context = await browser.newContext({ viewport: { width, height: 844 }, colorScheme, offline: true });
  const tab = await context.newPage();
  const seen = { width, colorScheme, complaints: [], requests: [] };
  tab.on("console", (message) => seen.complaints.push(`${message.type()}: ${message.text()}`));
  tab.on("pageerror", (error) => seen.complaints.push(String(error)));
  tab.on("request", (request) => seen.requests.push(request.url()));
  await tab.goto(pathToFileURL(resolve(page)).href, { waitUntil: "load" });
  if (folder) await tab.screenshot({ path: join(folder, `${width}-${colorScheme}.png`), fullPage: true });
  Object.assign(seen, await tab.evaluate(inspect));
  await tab.evaluate(axe.source);
  const { violations } = await tab.evaluate(() => window.axe.run());
  seen.barriers = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
  await context.close();
  return seen;
}

// In the page.
function inspect() {
  const shown = (element) => element.checkVisibility();
  const box = (element) => element.getBoundingClientRect();
  const within = (inner, outer) =>
    inner.left > outer.left - 1 && inner.right < outer.right + 1 &&
    inner.top > outer.top - 1 && inner.bottom < outer.bottom + 1;
  const scale = (svg) => box(svg).width / svg.viewBox.baseVal.width;
  const ink = (path) => ["stroke", "fill"].map((kind) => getComputedStyle(path)[kind]).filter((ink) => ink !== "none");
  const text = (svg) => [...svg.querySelectorAll("text")];
  const figures = [...document.querySelectorAll("figure")].map((figure) => ({
    heading: figure.closest("section").querySelector("h2, h3").textContent.trim(),
    sentence: figure.querySelector("figcaption").textContent.trim(),
    pictures: [...figure.querySelectorAll("svg")].filter(shown).map((svg) => ({
      name: svg.getAttribute("aria-label"),
      width: box(svg).width,
      height: box(svg).height,
      inks: [...new Set([...svg.querySelectorAll("path")].filter((path) => box(path).width > 0).flatMap(ink))],
      smallestText: Math.min(...text(svg).map((words) => parseFloat(getComputedStyle(words).fontSize) * scale(svg))),
      cutOff: text(svg).filter((words) => !within(box(words), box(svg))).map((words) => words.textContent),
    })),
  }));
  const numbers = [...document.querySelectorAll("data")].map((data) => ({
    path: data.dataset.path,
    value: data.value,
    text: data.textContent,
    shown: data.checkVisibility(),
  }));
  return {
    figures,
    numbers,
    background: getComputedStyle(document.body).backgroundColor,
    pageWidth: document.documentElement.scrollWidth,
    tooWide: [...document.body.querySelectorAll("*")]
      .filter((element) => shown(element) && box(element).right > innerWidth + 1)
      .map((element) => element.outerHTML.slice(0, 120)),
  };
}

async function open() {
  try {
    return await chromium.launch({ ...settings, chromiumSandbox: false });
  } catch (error) {
    console.error(error.message.slice(0, 1500));
    process.exit(NO_BROWSER);
  }
}

const browser = await open();
try {
  const seen = [];
  for (const each of looks) seen.push(await look(browser, each));
  console.log(JSON.stringify({ browser: browser.version(), looks: seen }));
} finally {
  await browser.close();
}
