"use strict";

// What is shown is a function of the URL's query; controls write to it, and everything is drawn from it.
const VIEWS = ["map", "heatmap", "liquidations", "compare", "coverage"];
const STATE_EVERY = 3000, MOVED_EVERY = 10000, STALE_SECONDS = 900, SLIDE_AFTER = 120;
const CONFIG = {responsive: true, displaylogo: false, showSendToCloud: false};
const at = id => document.getElementById(id);
const form = at("controls"), chart = at("chart"), words = at("words"), slider = at("slider");

let server = null;        // the last good answer of /api/state
let asked = 0;            // number of the newest load: older ones are not drawn
let asking = null;        // what ends the load that is under way, null while none is
let drawn = null;         // query of what is drawn
let askedWidth = 0;       // what the newest question said
let waiting = null;       // what is to be drawn once plotly.js is there
let facts = {};           // of what is drawn
let lost = null;          // why there is no answer, null while there is one
let events = null;        // the live connection, and the query it is for
let lastMove = 0, moving = null;  // when a view last looked again, and the timer of when it will

const state = () => new URLSearchParams(location.search);
const view = () => state().get("view") || "map";
const live = () => state().get("live") === "1";

function change(changes, push = false) {
  const query = state();
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null) query.delete(name); else query.set(name, value);
  }
  const url = `${location.pathname}${query.size ? `?${query}` : ""}`;
  history[push ? "pushState" : "replaceState"](null, "", url);
  show();
}

// --- what the server is asked ------------------------------------------------------------------------------

class Refused extends Error {
  constructor(error) {
    super(error.message);
    // Not reached, or too late: to be asked again. Anything else is about the question.
    this.gone = error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED";
  }
}

async function ask(path, signal) {
  let response;
  try {
    response = await fetch(path, {signal});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({code: "UNAVAILABLE", message:
      "the dashboard itself does not answer: start it again with `liqserver dashboard`"});
  }
  const answer = await response.json();
  if (answer.error) throw new Refused(answer.error);
  return answer;
}

/** In steps, so that not every pixel is another question. */
const width = () => Math.max(300, Math.floor(innerWidth / 30) * 30);

/** The question of a view: the query and how wide the figure may be. */
function question() {
  const query = state();
  query.delete("live");
  askedWidth = width();
  query.set("width", askedWidth);
  return query.toString();
}

async function load() {
  const mine = ++asked, query = question();
  asking?.abort();
  asking = new AbortController();
  if (drawn !== query) say("Asking the server.");
  try {
    const answer = await ask(`/api/figure/${view()}?${query}`, asking.signal);
    if (mine === asked) draw(answer, query);
  } catch (error) {
    if (mine === asked) refused(error, query);
  } finally {
    if (mine === asked) asking = null;
  }
}

function refused(error, query) {
  if (error.gone) {
    away(error.message);
    if (drawn === query) return;
    nothing(`There is nothing to show yet: ${error.message}. It is asked again by itself.`);
  } else {
    nothing(`There is nothing to show: ${error.message}`);
  }
}

// --- the connection ----------------------------------------------------------------------------------------

async function watch() {
  try {
    const answer = await ask("/api/state");
    const names = of => JSON.stringify(of && [of.symbols.map(s => [s.venue, s.symbol]), of.models.map(m => m.id)]);
    const newest = current()?.newest, known = names(server), first = server === null;
    let again = lost !== null;
    server = answer;
    back();
    if (known !== names(server)) {
      controls();
      if (first) fill(); else again = true;
    }
    // What there was too little data for may be there now.
    if (again || (!first && drawn === null && newest !== current()?.newest)) {
      closeLive();
      show();
    }
    if (!events) connected();
  } catch (error) {
    away(error.message);
    if (drawn === null) nothing(`There is nothing to show yet: ${error.message}. It is asked again by itself.`);
  }
  setTimeout(watch, STATE_EVERY);
}

function current() {
  const query = state(), symbol = query.get("symbol"), venue = query.get("venue");
  if (!symbol) return server?.symbols[0];
  return server?.symbols.find(of => of.symbol === symbol && (!venue || of.venue === venue));
}

function connected(how = "Connected.") {
  const symbol = current();
  let age = "", how_good = "good";
  if (symbol?.age) {
    const stale = symbol.age_seconds > STALE_SECONDS;
    if (stale) how_good = "stale";
    age = ` Newest ${symbol.kind.replace("_", " ")}: ${symbol.newest_shown}, ${symbol.age} old${stale ? " (stale)" : ""}.`;
  } else if (symbol) {
    age = " How old the data are is not known.";
  }
  tell(how + age, how_good);
}

function away(why) {
  lost = why;
  chart.classList.toggle("old", drawn !== null);
  const old = drawn !== null ? ` What is shown is old${facts.as_of_shown ? `, as of ${facts.as_of_shown}` : ""}.` : "";
  tell(`No answer: ${why}.${old} Trying again.`, "bad");
}

function tell(text, how) {
  at("connection").textContent = text;
  at("connection").dataset.state = how;
}

// --- live --------------------------------------------------------------------------------------------------

function closeLive() {
  events?.source.close();
  events = null;
  clearTimeout(moving);
  moving = null;
}

function openLive() {
  const query = question();
  if (events?.query === query) return;
  closeLive();
  const source = new EventSource(`/api/live?${query}`), mine = {source, query};
  const on = (name, then) => source.addEventListener(name, event => {
    if (events === mine) then(event.data ? JSON.parse(event.data) : null);
  });
  events = mine;
  lastMove = Date.now();
  on("levels", answer => { asked++; back(); draw(answer, query); connected("Live."); });
  on("heartbeat", news => { back(); quiet(news); });
  on("moved", news => {
    back();
    quiet(news);
    if (news.as_of_shown === facts.as_of_shown) return;
    moving ??= setTimeout(() => {
      moving = null;
      lastMove = Date.now();
      load();
    }, lastMove + MOVED_EVERY - Date.now());
  });
  on("lost", answer => away(answer.error.message));
  on("failed", answer => { closeLive(); refused(new Refused(answer.error), query); });
  // A refusal of the dashboard ends the connection for good; `watch` notices when it is back.
  source.onerror = () => {
    if (events === mine && source.readyState === EventSource.CLOSED) events = null;
  };
}

function back() {
  lost = null;
  chart.classList.remove("old");
}

const quiet = news => connected(news.age ? `Live: levels as of ${news.as_of_shown}.` : "Live.");

// --- drawing -----------------------------------------------------------------------------------------------

function say(text, how = "") {
  words.textContent = text;
  words.dataset.state = how;
}

function nothing(text) {
  drawn = waiting = null;
  facts = {};
  window.Plotly?.purge(chart);
  at("rows").replaceChildren();
  chart.classList.remove("old");
  say(text, "bad");
}

function draw(answer, query) {
  if (!window.Plotly) {
    waiting = [answer, query];
    return;
  }
  const {data, layout} = answer.figure;
  // Zoom and hidden tiers stay while the same is asked.
  layout.uirevision = query.replace(/&?width=\d+/, "");
  Plotly.react(chart, data, layout, CONFIG);
  drawn = query;
  facts = answer.facts;
  rows(facts.rows);
  bounds();
  say(facts.as_of_shown ? `As of ${facts.as_of_shown}.` : "");
}

at("plotly").addEventListener("load", () => { if (waiting) draw(...waiting); });
at("plotly").addEventListener("error", () => away("the dashboard did not send plotly.js: load this page again"));

function rows(table) {
  if (!table?.length) { at("rows").replaceChildren(); return; }
  const names = Object.keys(table[0]), out = document.createElement("table");
  const line = (cells, tag) => {
    const row = out.insertRow();
    for (const text of cells) row.append(Object.assign(document.createElement(tag), {textContent: text}));
  };
  line(names, "th");
  for (const row of table) line(names.map(name => row[name]), "td");
  at("rows").replaceChildren(out);
}

// --- controls ----------------------------------------------------------------------------------------------

const option = (value, text) => Object.assign(document.createElement("option"), {value, textContent: text});
const chosenModel = () => server?.models.find(of => of.id === state().get("model")) ||
  server?.models.find(of => of.is_default);
const minute = ms => new Date(ms).toISOString().replace(/:00\.000Z$/, "Z");

/** Fill what depends on the server. */
function controls() {
  const known = new Set(server.symbols.map(of => of.symbol));
  const several = server.symbols.length > known.size;
  form.symbol.replaceChildren(...server.symbols.map(of =>
    option(`${of.venue}:${of.symbol}`, several ? `${of.venue}:${of.symbol}` : of.symbol)));
  form.model.replaceChildren(...server.models.map(of =>
    option(of.is_default ? "" : of.id, of.id + (of.has_time_axis ? "" : ", no heatmap"))));
  at("models").replaceChildren(at("models").firstElementChild, ...server.models.map(of => {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, {type: "checkbox", name: "compared", value: of.id});
    label.append(box, of.id);
    return label;
  }));
}

/** Show in the controls what the query says. */
function fill() {
  const query = state();
  for (const field of form.elements) {
    if (!field.name || field.name === "symbol" || field.name === "compared") continue;
    if (field.name.startsWith("p.")) continue;
    const value = query.get(field.name) ?? "";
    if (field.type === "checkbox") {
      field.checked = field.dataset.on ? value === field.dataset.on : value !== field.dataset.off;
    } else if (field.name === "model") {
      field.value = server?.models.some(of => of.id === value && of.is_default) ? "" : value;
    } else {
      field.value = value;
      // The default, named.
      if (field.selectedIndex < 0) field.selectedIndex = 0;
    }
  }
  const symbol = current();
  form.symbol.value = symbol ? `${symbol.venue}:${symbol.symbol}` : "";
  form.bin_size.placeholder = symbol?.base_bin ? `n × ${symbol.base_bin}` : "suits";
  const compared = query.get("models")?.split(",");
  for (const box of form.querySelectorAll("[name=compared]")) box.checked = compared?.includes(box.value) ?? true;
  parameters();
  bounds();
}

/** Fields for the parameters of the chosen model, or of each that is compared. */
function parameters() {
  const query = state(), comparing = view() === "compare", named = (query.get("models") || "").split(",");
  const compared = server?.models.filter(of => !query.get("models") || named.includes(of.id));
  const models = (comparing ? compared : [chosenModel()])?.filter(Boolean) ?? [];
  const shown = JSON.stringify([comparing, models.map(of => of.id)]);
  if (at("fields").dataset.shown !== shown) {
    at("fields").dataset.shown = shown;
    at("fields").replaceChildren(...models.map(model => fieldsOf(model, comparing ? `p.${model.id}.` : "p.")));
    const own = comparing ? /^p\..+\./ : /^p\.[^.]+$/;
    at("parameters").open ||= [...query.keys()].some(name => own.test(name));
  }
  for (const field of at("fields").querySelectorAll("input")) field.value = query.get(field.name) ?? "";
}

function fieldsOf(model, prefix) {
  // Of several models, those with parameters of their own are open.
  const section = document.createElement("details"), grid = document.createElement("div");
  const heading = Object.assign(document.createElement("summary"), {textContent: model.id});
  section.open = prefix === "p." || [...state().keys()].some(name => name.startsWith(prefix));
  const about = Object.assign(document.createElement("p"), {textContent: `${model.description} ${model.limits}`});
  grid.className = "grid";
  grid.append(...model.parameters.map(of => {
    const label = document.createElement("label"), field = document.createElement("input");
    const note = document.createElement("small");
    Object.assign(field, {name: prefix + of.name, placeholder: of.default_value});
    note.textContent = `${of.description} It ${of.allowed}.`;
    label.append(of.name.replaceAll("_", " "), field, note);
    return label;
  }));
  section.append(heading, about, grid);
  return section;
}

/** The slider goes from the first to the newest data, in minutes. */
function bounds() {
  const newest = current()?.newest, first = facts.history_start ?? +slider.min;
  slider.disabled = !newest || !first || first >= newest || live();
  form.as_of.disabled = at("newest").disabled = live();
  if (!newest || !first) { slider.value = slider.max; return; }
  const step = 60000;
  slider.step = step;
  slider.min = Math.ceil(first / step) * step;
  slider.max = Math.floor(newest / step) * step;
  const given = Date.parse(state().get("as_of") ?? "");
  slider.value = Number.isNaN(given) ? slider.max : given;
}

/** Changes that take away the fields of the query that ``which`` says. */
const without = which => Object.fromEntries([...state().keys()].filter(which).map(name => [name, ""]));

form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("change", ({target}) => {
  if (target === slider) {
    slide();
  } else if (target.name === "symbol") {
    const [venue, symbol] = target.value.split(":");
    slider.min = 0;
    change({venue, symbol, bin_size: "", as_of: ""});
  } else if (target.name === "model") {
    change({...without(name => /^p\.[^.]+$/.test(name)), model: target.value});
  } else if (target.name === "compared") {
    const boxes = [...form.querySelectorAll("[name=compared]")];
    const ids = boxes.filter(box => box.checked).map(box => box.value);
    const gone = without(name => /^p\..+\./.test(name) && !ids.includes(name.split(".")[1]));
    // All of them need no word, and none is no comparison.
    change({...gone, models: ids.length % boxes.length ? ids.join(",") : ""});
  } else if (target.name === "live") {
    change({live: target.checked ? "1" : "", as_of: ""});
  } else if (target.type === "checkbox") {
    change({[target.name]: (target.checked ? target.dataset.on : target.dataset.off) ?? ""});
  } else {
    change({[target.name]: target.value.trim()});
  }
});
let sliding = null;
function slide() {
  clearTimeout(sliding);
  change({as_of: +slider.value >= +slider.max ? "" : minute(+slider.value)});
}
// What is shown follows the slider while it is dragged, where it rests for a moment.
slider.addEventListener("input", () => {
  form.as_of.value = minute(+slider.value);
  clearTimeout(sliding);
  sliding = setTimeout(slide, SLIDE_AFTER);
});
at("newest").addEventListener("click", () => change({as_of: ""}));
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => change({view: tab.dataset.view === "map" ? "" : tab.dataset.view}, true));
}
addEventListener("popstate", () => show());
// Titles and legends are made for a width.
addEventListener("resize", () => { if (askedWidth !== width() && VIEWS.includes(view())) show(); });
// A page that nobody sees needs no connection: a browser has six for one address.
document.addEventListener("visibilitychange", () => { if (document.hidden) closeLive(); else show(); });

// --- all together ------------------------------------------------------------------------------------------

function show() {
  const here = view();
  document.documentElement.classList.toggle("dark", (state().get("theme") || "").endsWith("-dark"));
  document.title = `${state().get("symbol") || "liqserver"} ${here}`;
  for (const tab of document.querySelectorAll("[role=tab]")) tab.setAttribute("aria-selected", tab.dataset.view === here);
  for (const part of form.querySelectorAll("[data-views]")) part.hidden = !part.dataset.views.split(" ").includes(here);
  fill();
  if (!VIEWS.includes(here)) {
    nothing(`There is no view ${here}: it must be one of ${VIEWS.join(", ")}.`);
    return;
  }
  if (live()) openLive(); else closeLive();
  // The first live event brings the map.
  if (!events || here !== "map") load();
  else if (drawn !== question()) say("Asking the server.");
}

show();
watch();
