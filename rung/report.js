"use strict";
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
