// The comparison of encoders: votes by key, and each vote sent once.
"use strict";

(() => {
  const form = document.querySelector("[data-cardigan-votes]");
  const box = document.querySelector("[data-cardigan-keys-off]");
  if (!form || !box) {
    return;
  }

  // One switch for all of the plugin's pages.
  const KEYS_OFF = "cardigan-reco-keys-off";
  const SAME = { ArrowLeft: "1", ArrowRight: "2", "=": "3", 0: "4" };
  const off = box.querySelector("input");
  box.hidden = false;
  off.checked = localStorage.getItem(KEYS_OFF) === "1";
  off.addEventListener("change", () => {
    localStorage.setItem(KEYS_OFF, off.checked ? "1" : "0");
  });

  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
    }
    sent = true;
  });
  window.addEventListener("pageshow", () => {
    sent = false; // Back from the next item.
  });

  /* The digit on a key, or else what it writes: a French keyboard writes "&" where 1 stands. */
  function digitOn(event) {
    return (!event.shiftKey && /^Digit(\d)$/.exec(event.code)?.[1]) || event.key;
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea, summary");
    if (off.checked || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) {
      return;
    }
    const pressed = digitOn(event);
    const key = SAME[pressed] ?? pressed.toLowerCase();
    const target = /^[a-z0-9]$/.test(key) && form.querySelector(`[data-cardigan-key="${key}"]`);
    if (target) {
      event.preventDefault();
      target.click();
    }
  });
})();
