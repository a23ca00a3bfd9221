"use strict";
// The elements of the pages for coding and for corrections.
const part = (name) => document.getElementById(name);

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

// Shows a warning with buttons; `null` takes it away.
function warn(text, actions = []) {
  const box = part("alert");
  box.hidden = text === null;
  box.replaceChildren(element("p", text ?? ""));
  for (const [name, act] of actions) {
    const button = element("button", name, { type: "button" });
    button.addEventListener("click", act);
    box.append(button);
  }
}
