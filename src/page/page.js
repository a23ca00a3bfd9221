"use strict";
// Print everything: opens what is folded, and folds it again afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const fold of opened) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of opened) fold.open = false;
});
// Only what scrolls needs a place in the order of the tab key.
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const scrolls = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
    target.tabIndex = scrolls ? 0 : -1;
  }
});
const observe = (root) => { for (const box of root.querySelectorAll(".scroll, pre")) observer.observe(box); };
observe(document);
// A server sends parts of the page anew.
document.addEventListener("renewed", ({ detail }) => observe(detail));
