"use strict";
// Everything that came from a file, a model or a person is put in as text, never as markup.
const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const RATINGS = [[1, "right", "+"], [0, "neutral", "0"], [-1, "wrong", "−"]];
const KEYS = { "+": 1, "=": 1, "1": 1, "0": 0, "2": 0, "-": -1, "−": -1, "3": -1 };
const key = new URLSearchParams(location.hash.slice(1)).get("key");
let annotator = localStorage.getItem("rung-annotator") || "";
let task = null; // what is on the page
let stopAtError = true;
let ratings = [], current = 0; // of steps
let places = [], tie = false; // of a ranking: the solutions' indices, best first, those of one place together
let started = 0, busy = false;
const history = []; // ids of the tasks before this one

async function ask(path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = body === undefined ? { headers } : { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try { response = await fetch(path, options); } catch { throw new Error("The server does not answer; your last answer is not saved. Try again."); }
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

// One thing at a time: a second Enter while an answer is on its way must not answer the next item. A view, though, waits.
let settled = Promise.resolve();
function attempt(work) {
  if (busy) return settled;
  busy = true;
  $("error").textContent = "";
  settled = work().catch((error) => { $("error").textContent = error.message; }).finally(() => { busy = false; });
  return settled;
}

// --- judging -----------------------------------------------------------------------------------

async function load(path) {
  const state = await (await ask(path)).json();
  stopAtError = state.stop_at_error;
  task = state.task;
  $("progress").textContent = `${state.done} done · ${state.left} left`;
  show("judge");
  if (!task) {
    $("finished-words").textContent = state.done ? `You judged ${state.done}. Thank you.` : "Others have judged everything already.";
    return;
  }
  const given = state.given;
  ratings = task.kind === "steps" ? given || task.solutions[0].steps.map(() => null) : [];
  places = task.kind === "ranking" ? given || [] : [];
  tie = false;
  current = Math.max(0, ratings.indexOf(null));
  started = performance.now();
  $("question").textContent = task.question;
  $("reference").hidden = true;
  $("reference").querySelector("b").textContent = task.answer;
  $("peek").hidden = !task.answer;
  $("keys-steps").hidden = task.kind !== "steps";
  $("keys-ranking").hidden = task.kind !== "ranking";
  $("steps").hidden = task.kind !== "steps";
  draw();
  window.scrollTo(0, 0);
}

const next = () => load(`api/next?annotator=${encodeURIComponent(annotator)}`);
const firstWrong = () => (stopAtError ? ratings.indexOf(-1) : -1);
const complete = () => (task.kind === "steps"
  ? firstWrong() >= 0 || !ratings.includes(null)
  : places.flat().length === task.solutions.length);

function draw() {
  $("cards").replaceChildren(...(task.kind === "ranking" ? task.solutions.map(card) : []));
  $("steps").replaceChildren(...(task.kind === "steps" ? task.solutions[0].steps.map(step) : []));
  $("save").disabled = !complete();
  $("told").textContent = task.kind === "ranking" && tie ? "The next number ties with the one before." : "";
  document.querySelector("#steps .now")?.scrollIntoView({ block: "nearest" });
}

function step(text, i) {
  const after = firstWrong() >= 0 && i > firstWrong();
  const rated = RATINGS.find(([value]) => value === ratings[i]);
  const item = make("li", [rated ? rated[1] : "", i === current ? "now" : "", after ? "after" : ""].join(" ").trim());
  const words = make("span", "words", text);
  words.dir = "auto";
  const votes = make("span", "votes");
  for (const [value, name, sign] of RATINGS) {
    const button = make("button", name, sign);
    button.setAttribute("aria-label", `step ${i + 1}: ${name}`);
    button.setAttribute("aria-pressed", String(ratings[i] === value));
    button.addEventListener("click", (event) => { event.stopPropagation(); current = i; rate(value); });
    votes.append(button);
  }
  item.append(make("small", "", String(i + 1)), words, votes);
  item.addEventListener("click", () => { current = i; draw(); });
  return item;
}

function rate(value) {
  ratings[current] = value;
  const wrong = firstWrong();
  if (wrong >= 0) ratings = ratings.map((rating, i) => (i > wrong ? null : rating));
  else if (current < ratings.length - 1) current += 1;
  draw();
}

function card(solution, position) {
  const place = places.findIndex((tied) => tied.includes(solution.index));
  const article = make("article", place >= 0 ? "placed" : "");
  const head = make("header");
  head.append(make("kbd", "", String(position + 1)));
  if (place >= 0) head.append(make("b", "", (places[place].length > 1 ? "tied " : "") + ["1st", "2nd", "3rd"].concat(Array.from({ length: 7 }, (_, i) => `${i + 4}th`))[place]));
  const list = make("ol");
  for (const text of solution.steps) {
    const item = make("li", "words", text);
    item.dir = "auto";
    list.append(item);
  }
  article.append(head, list);
  article.addEventListener("click", () => rank(position));
  return article;
}

function rank(position) {
  const solution = task.solutions[position];
  if (!solution || places.flat().includes(solution.index)) return;
  if (tie && places.length) places[places.length - 1].push(solution.index);
  else places.push([solution.index]);
  tie = false;
  draw();
}

function undo() {
  if (task.kind === "ranking") {
    const last = places[places.length - 1];
    if (last && last.pop() !== undefined && !last.length) places.pop();
    tie = false;
  } else {
    if (ratings[current] === null && current > 0) current -= 1;
    ratings[current] = null;
  }
  draw();
}

const send = (answer) => attempt(async () => {
  const seconds = (performance.now() - started) / 1000;
  await ask("api/answer", { annotator, task: task.id, answer, seconds: Math.min(Math.round(seconds * 10) / 10, 86400) });
  if (history[history.length - 1] !== task.id) history.push(task.id);
  await next();
});
const save = () => { if (complete()) send(task.kind === "steps" ? ratings : places); };
const back = () => attempt(async () => {
  while (task && history[history.length - 1] === task.id) history.pop();
  const earlier = history.pop();
  if (earlier) await load(`api/task?task=${encodeURIComponent(earlier)}&annotator=${encodeURIComponent(annotator)}`);
});
const peek = () => { if (task.answer) $("reference").hidden = !$("reference").hidden; };

// --- agreement ---------------------------------------------------------------------------------

const number = (value, digits = 2) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));

function table(heads, rows) {
  const box = make("div", "scroll"), grid = make("table"), head = make("tr"), body = make("tbody");
  const side = (cells, i) => (i && !(cells[i] instanceof Element) ? "number" : ""); // words and bars begin at the left
  heads.forEach((name, i) => head.append(make("th", side(rows[0], i), name)));
  for (const cells of rows) {
    const row = make("tr");
    cells.forEach((cell, i) => {
      const field = make(i ? "td" : "th", side(cells, i));
      field.append(cell);
      row.append(field);
    });
    body.append(row);
  }
  const top = make("thead");
  top.append(head);
  grid.append(top, body);
  box.append(grid);
  return box;
}

function tiles(agreement, unit) {
  const box = make("div", "tiles");
  const tile = (value, name) => { const one = make("div"); one.append(make("b", "", value), make("small", "", name)); box.append(one); };
  tile(number(agreement.alpha_ordinal), "Krippendorff’s α, ordinal");
  tile(number(agreement.alpha_nominal), "Krippendorff’s α, nominal");
  tile(number(agreement.fleiss), `Fleiss’ κ, on ${agreement.fleiss_units} ${unit}`);
  tile(agreement.unanimous === null ? "–" : `${Math.round(100 * agreement.unanimous)} %`, `of ${agreement.shared} shared ${unit} judged alike`);
  return box;
}

function leniency(person) {
  if (person.leniency === null) return make("small", "", "no shared steps");
  const settled = person.leniency_low > 0 || person.leniency_high < 0;
  const box = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  box.setAttribute("viewBox", "-100 -10 200 20");
  box.setAttribute("class", settled ? (person.leniency > 0 ? "kind" : "strict") : "like");
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `${number(person.leniency)} [${number(person.leniency_low)}, ${number(person.leniency_high)}]`);
  const draw = (tag, attributes) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    box.append(shape);
  };
  const x = (value) => Math.max(-100, Math.min(100, 100 * value));
  draw("line", { x1: -100, x2: 100, y1: 0, y2: 0 });
  draw("line", { x1: 0, x2: 0, y1: -9, y2: 9 });
  if (person.leniency_low !== null) draw("line", { x1: x(person.leniency_low), x2: x(person.leniency_high), y1: 0, y2: 0, class: "span" });
  draw("circle", { cx: x(person.leniency), cy: 0, r: 5 });
  return box;
}

function shares(person) {
  const total = person.right + person.neutral + person.wrong;
  const box = make("div", "shares");
  box.title = `${person.right} right, ${person.neutral} neutral, ${person.wrong} wrong`;
  for (const name of ["right", "neutral", "wrong"]) {
    const part = make("i", name);
    part.style.width = total ? `${(100 * person[name]) / total}%` : "0";
    box.append(part);
  }
  return box;
}

async function agreement() {
  const summary = await (await ask("api/summary")).json();
  const box = $("agreement");
  box.replaceChildren(make("h1", "", "Do people agree?"), make("p", "muted", "1 is perfect agreement, 0 what chance would give. From about 0.67 on, conclusions may be drawn with care; from 0.8 on, with ease (Krippendorff)."));
  if (summary.steps.units) box.append(make("h2", "", "Steps"), tiles(summary.steps, "steps"));
  if (summary.ranking.units) box.append(make("h2", "", "Rankings"), tiles(summary.ranking, "pairs"));
  if (!summary.annotators.length) box.append(make("p", "", "Nobody has judged anything yet."));
  else {
    box.append(make("h2", "", "People"));
    box.append(table(["", "items", "seconds each", "right, neutral, wrong", "stricter ← than the others → kinder", ""], summary.annotators.map((person) => [
      person.name, String(person.tasks), number(person.seconds, 1), shares(person), leniency(person),
      person.leniency === null ? "" : `${person.leniency > 0 ? "+" : ""}${number(person.leniency)} on ${person.shared}`])));
  }
  if (summary.pairs.length) box.append(make("h2", "", "Two by two"), table(["", "Cohen’s κ", "shared steps"], summary.pairs.map((pair) => [`${pair.a} and ${pair.b}`, number(pair.kappa), String(pair.steps)])));
  box.append(make("h2", "", "Take it along"));
  const row = make("div", "row");
  for (const name of ["labels", "rankings", "pairs", "annotations"]) {
    const button = make("button", "", `${name}.jsonl`);
    button.addEventListener("click", () => attempt(() => download(name)));
    row.append(button);
  }
  box.append(row);
}

async function download(name) {
  const link = make("a");
  link.href = URL.createObjectURL(await (await ask(`api/export/${name}.jsonl`)).blob());
  link.download = `${name}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// --- what is on the page, and the keyboard -----------------------------------------------------

let view = "judge";
function show(name) {
  view = name;
  $("judge-tab").setAttribute("aria-pressed", String(name === "judge"));
  $("agreement-tab").setAttribute("aria-pressed", String(name === "agreement"));
  $("enter").hidden = name !== "judge" || Boolean(annotator);
  $("judge").hidden = name !== "judge" || !annotator || !task;
  $("finished").hidden = name !== "judge" || !annotator || Boolean(task);
  $("agreement").hidden = name !== "agreement";
  $("who").hidden = !annotator;
  $("who").textContent = annotator;
  if (!$("enter").hidden) $("name").focus();
}

function judging() {
  task = null;
  if (annotator) return attempt(next);
  $("enter").hidden = false;
  show("judge");
  return undefined;
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  annotator = $("name").value.trim().replaceAll("+", " ").replace(/\s+/g, " ");
  if (!annotator) return;
  localStorage.setItem("rung-annotator", annotator);
  history.length = 0;
  judging();
});
$("who").addEventListener("click", () => { $("name").value = annotator; annotator = ""; localStorage.removeItem("rung-annotator"); $("progress").textContent = ""; judging(); });
$("judge-tab").addEventListener("click", () => settled.then(judging));
$("agreement-tab").addEventListener("click", () => settled.then(() => attempt(async () => { await agreement(); show("agreement"); })));
$("save").addEventListener("click", save);
$("skip").addEventListener("click", () => send(null));
$("undo").addEventListener("click", undo);
$("back").addEventListener("click", back);
$("finished-back").addEventListener("click", back);
$("peek").addEventListener("click", peek);

document.addEventListener("keydown", (event) => {
  if (view !== "judge" || !annotator || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const letter = event.key.toLowerCase();
  if (letter === "b") { back(); return; }
  if (!task) return;
  const moves = { enter: save, s: () => send(null), a: peek, backspace: undo };
  if (task.kind === "steps") {
    if (event.key in KEYS) rate(KEYS[event.key]);
    else if (letter === "arrowdown" || letter === "arrowup") { current = Math.max(0, Math.min(ratings.length - 1, current + (letter === "arrowdown" ? 1 : -1))); draw(); }
    else if (letter in moves) moves[letter]();
    else return;
  } else if (/^[1-9]$/.test(event.key)) rank(Number(event.key) - 1);
  else if (event.key === "=") { tie = places.length > 0; draw(); }
  else if (letter in moves) moves[letter]();
  else return;
  event.preventDefault();
});

judging();
