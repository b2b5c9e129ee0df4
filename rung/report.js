"use strict";
// A legend's names show and hide their arms in every section that has a legend; a picture left empty goes as well.
const keys = [...document.querySelectorAll(".legend button")];
for (const key of keys) {
  key.addEventListener("click", () => {
    const away = key.getAttribute("aria-pressed") === "true";
    const style = key.dataset.style;
    for (const other of keys) if (other.dataset.style === style) other.setAttribute("aria-pressed", String(!away));
    for (const section of new Set(keys.map((other) => other.closest("section")))) {
      for (const mark of section.querySelectorAll(`figure .${style}`)) mark.classList.toggle("away", away);
      for (const figure of section.querySelectorAll("figure")) {
        figure.classList.toggle("away", !figure.querySelector(".name:not(.away)"));
      }
    }
  });
}
// Filters over the sampled solutions. Without scripts the buttons stay hidden and every solution shows.
const bar = document.querySelector(".filters");
if (bar) {
  const articles = [...document.querySelectorAll("article")];
  const wanted = { arm: "", kind: "" };
  const shown = document.getElementById("shown");
  const apply = () => {
    let count = 0;
    for (const article of articles) {
      const kinds = article.dataset.kind.split(" ");
      const fits = (!wanted.arm || article.dataset.arm === wanted.arm) &&
        wanted.kind.split(" ").every((kind) => !kind || kinds.includes(kind));
      article.hidden = !fits;
      count += fits;
    }
    shown.textContent = count === 1 ? "1 solution" : `${count} solutions`;
  };
  bar.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const key = "arm" in button.dataset ? "arm" : "kind";
    wanted[key] = button.dataset[key];
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
    apply();
  });
  bar.hidden = false;
  apply();
}
