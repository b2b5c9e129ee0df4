"use strict";
// Everything that came from a person or a model is put in as text, never as markup.
const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const EXAMPLE = {
  question: "Natalia sold clips to 48 of her friends in April, and then half as many in May. How many clips did she sell altogether?",
  solutions: ["In May she sold 48 / 2 = 24 clips.\nAltogether she sold 48 + 24 = 72 clips.\n#### 72",
    "In May she sold 48 * 2 = 96 clips.\nAltogether she sold 48 + 96 = 144 clips.\n#### 144"],
};

function addSolution(text = "") {
  const box = make("div", "solution");
  const area = make("textarea");
  area.rows = 5;
  area.value = text;
  area.setAttribute("aria-label", "Solution");
  const remove = make("button", "", "remove");
  remove.type = "button";
  remove.addEventListener("click", () => { box.remove(); number(); });
  box.append(make("label"), area, remove);
  $("solutions").append(box);
  number();
  return area;
}

function number() {
  const boxes = [...$("solutions").children];
  boxes.forEach((box, i) => {
    box.querySelector("label").textContent = boxes.length > 1 ? `Solution ${i + 1}` : "Solution";
    box.querySelector("button").hidden = boxes.length === 1;
  });
}

async function score(event) {
  event.preventDefault();
  const solutions = [...document.querySelectorAll("#solutions textarea")].map((area) => area.value).filter((text) => text.trim());
  if (!solutions.length) { complain("Paste at least one solution."); return; }
  const headers = { "Content-Type": "application/json" };
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
  $("go").disabled = true;
  try {
    const body = JSON.stringify({ question: $("question").value, solutions, separator: $("separator").value, aggregate: $("aggregate").value });
    const response = await fetch("v1/score", { method: "POST", headers, body });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    show(answer);
  } catch (error) {
    complain(error instanceof TypeError ? "The server does not answer." : error.message);
  } finally {
    $("go").disabled = false;
  }
}

function complain(message) {
  $("results").replaceChildren(make("p", "error", message));
}

function scale() {
  const line = make("p", "scale");
  line.append(make("span", "", "wrong"));
  for (let i = 0; i < 10; i++) line.append(make("i", `t${i}`, `.${i}`));
  line.append(make("span", "", "right"));
  return line;
}

function show(answer) {
  const ranked = answer.solutions.map((solution, i) => ({ ...solution, i })).sort((a, b) => b.score - a.score);
  const cards = ranked.map((solution, rank) => {
    const card = make("article");
    const head = make("header");
    head.append(make("h2", "", ranked.length > 1 ? `${rank + 1}. Solution ${solution.i + 1}` : "Solution"));
    head.append(make("b", "", solution.score.toFixed(3)));
    head.append(make("small", "", `${solution.steps.length} ${solution.steps.length === 1 ? "step" : "steps"}`));
    const list = make("ol");
    const worst = Math.min(...solution.step_scores);
    solution.steps.forEach((text, k) => {
      const p = solution.step_scores[k];
      const item = make("li", `t${Math.min(9, Math.floor(p * 10))}${p === worst && solution.steps.length > 1 ? " weakest" : ""}`);
      item.append(make("span", "", p.toFixed(2)), make("span", "words", text));
      item.title = `P(right) ${p.toFixed(4)}`;
      list.append(item);
    });
    card.append(head, list);
    return card;
  });
  $("results").replaceChildren(scale(), ...cards);
  $("results").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

$("form").addEventListener("submit", score);
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("add").addEventListener("click", () => addSolution().focus());
$("example").addEventListener("click", () => {
  $("question").value = EXAMPLE.question;
  $("solutions").replaceChildren();
  EXAMPLE.solutions.forEach((text) => addSolution(text));
  $("go").focus();
});
addSolution();
fetch("health").then((response) => response.json()).then((health) => {
  $("model").textContent = `${health.model} · each step is tinted by the model’s probability that it is right`;
}).catch(() => {});
