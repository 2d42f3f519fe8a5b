// The report of duplicate listings: verdicts without leaving the page, keys, and two pictures compared.
"use strict";

(() => {
  const form = document.getElementById("changelist-form");
  const list = document.querySelector("[data-cardigan-groups]");
  const help = document.querySelector("[data-cardigan-help-dialog]");
  const comparison = document.querySelector("[data-cardigan-compare-dialog]");
  const status = document.querySelector("[data-cardigan-status]");
  if (!form || !list || !help || !comparison || !status) {
    return;
  }

  const KEYS_OFF = "cardigan-reco-keys-off";
  const MOVING_KEYS = ["j", "k", "ArrowRight", "ArrowLeft"];
  const undoable = [];
  let judged = 0;
  let busy = false;

  const groups = () => [...list.querySelectorAll("[data-cardigan-group]")];
  const current = () => document.activeElement?.closest("[data-cardigan-group]");
  const isOpen = (group) => group.dataset.state === "open";

  // Verdicts

  function tell(text, undo) {
    status.querySelector("[data-cardigan-told]").textContent = text;
    status.querySelector("[data-cardigan-undo]").hidden = !undo;
    status.hidden = false;
  }

  function focusOn(group) {
    group?.focus({ preventScroll: true });
    group?.scrollIntoView({ block: "start" });
  }

  /* Returns whether the shop has answered, be it with a conflict. */
  async function decide(value, url, group) {
    if (busy) {
      return false;
    }
    busy = true;
    const data = new FormData();
    data.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    data.set("verdict", value);
    data.set("next", form.elements.next.value);
    data.set("fragment", "1");
    data.set("whole", list.dataset.whole ?? "");
    const note = group?.querySelector("textarea");
    if (note) {
      data.set(note.name, note.value);
    }
    try {
      const response = await fetch(url, { method: "POST", body: data, credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const answer = page.querySelector("[data-cardigan-answer]");
      if (!answer || response.redirected) {
        tell(response.status >= 500 ? status.dataset.failed : status.dataset.refused);
        return false;
      }
      show(answer, value.split(":")[0], response.ok, group);
      return true;
    } catch {
      tell(status.dataset.failed);
      return false;
    } finally {
      busy = false;
    }
  }

  function show(answer, verb, done, group) {
    const shown = groups();
    const place = group ? shown.indexOf(group) : -1;
    const selected = new Set(
      [...form.querySelectorAll("[name=_selected_action]:checked")].map((box) => box.value),
    );
    const cards = [...answer.querySelectorAll("[data-cardigan-group]")];
    const replaced = new Set(answer.dataset.replaced.trim().split(/\s+/));
    const old = shown.filter((one) => replaced.has(one.dataset.cardiganGroup));
    let last = old[0] ?? null;
    let unsaid = "";
    for (const card of cards) {
      const same = document.getElementById(card.id);
      prepare(card);
      const box = card.querySelector("[name=_selected_action]");
      if (box) {
        box.checked = selected.has(box.value);
      }
      const note = card.querySelector("textarea");
      const typed = same?.querySelector("textarea");
      const isStored = done && same === group && verb !== "survivor";
      if (note && typed && !isStored) {
        note.value = typed.value;
      } else if (!done && typed?.value) {
        unsaid = ` ${status.dataset.unsaid} ${typed.value}`; // Somebody else has closed the group.
      }
      if (same) {
        same.replaceWith(card);
        last = last === same || last === null ? card : last;
      } else if (last) {
        last.after(card);
        last = card;
      } else {
        list.prepend(card);
        last = card;
      }
    }
    const kept = new Set(cards.map((card) => card.id));
    const gone = old.filter((one) => !kept.has(one.id) && done);
    gone.forEach((one) => one.remove());
    if (done) {
      judged += verb === "survivor" ? 0 : 1;
      if (answer.dataset.undo) {
        undoable.push(answer.dataset.undo);
      }
    }
    const message = answer.querySelector("[data-cardigan-message]").textContent;
    tell(message + unsaid, done && answer.dataset.undo);
    const first = cards.map((card) => document.getElementById(card.id)).find((card) => card);
    if (done && (verb === "confirm" || verb === "dismiss")) {
      // What is left open of a group that was split comes first.
      const rest = groups().slice(Math.max(place, 0)).find(isOpen);
      focusOn(rest ?? first);
    } else {
      focusOn(first ?? groups()[Math.max(place, 0)]);
    }
    count();
  }

  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button?.name === "verdict") {
      event.preventDefault();
      decide(button.value, button.formAction, button.closest("[data-cardigan-group]"));
    }
  });

  async function undo() {
    if (busy) {
      return;
    }
    const value = undoable.at(-1);
    if (!value) {
      tell(status.dataset.none);
      return;
    }
    const url = document.querySelector("[name=verdict][formaction]")?.formAction ?? form.action;
    // What can't be undone any more must not stand before what can.
    if (await decide(value, url, null)) {
      undoable.pop();
    }
  }

  status.querySelector("[data-cardigan-undo]").addEventListener("click", undo);

  // Selecting groups for the actions above

  const all = document.querySelector("[data-cardigan-choose-all]");
  const chosen = document.querySelector("[data-cardigan-chosen]");

  function count() {
    if (!all || !chosen) {
      return;
    }
    const boxes = [...form.querySelectorAll("[name=_selected_action]")];
    const checked = boxes.filter((box) => box.checked).length;
    all.checked = boxes.length > 0 && checked === boxes.length;
    all.indeterminate = checked > 0 && checked < boxes.length;
    if (checked < boxes.length && form.elements.select_across) {
      form.elements.select_across.checked = false;
    }
    chosen.hidden = checked === 0;
    chosen.textContent = status.dataset.chosen.replace("%d", checked);
  }

  if (all) {
    all.parentElement.hidden = false;
    const choose = (checked) => {
      form.querySelectorAll("[name=_selected_action]").forEach((box) => {
        box.checked = checked;
      });
      count();
    };
    all.addEventListener("change", () => choose(all.checked));
    form.elements.select_across?.addEventListener("change", (event) => {
      if (event.target.checked) {
        choose(true);
      }
    });
    form.addEventListener("change", count);
    count();
  }

  // Two pictures compared

  const stage = comparison.querySelector(".cardigan-stage");
  const under = comparison.querySelector("[data-cardigan-under]");
  const over = comparison.querySelector("[data-cardigan-over]");
  const caption = comparison.querySelector("[data-cardigan-caption]");
  const slider = comparison.querySelector("[data-cardigan-slider]");
  const share = slider.querySelector("input");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const BLINK_MS = 600;
  let mode = "blink";
  let second = false;
  let timer = 0;
  let names = ["", ""];

  function paint() {
    stage.classList.toggle("is-difference", mode === "difference");
    slider.hidden = mode !== "overlay";
    if (mode === "blink") {
      under.style.visibility = second ? "hidden" : "visible";
      over.style.visibility = second ? "visible" : "hidden";
      over.style.opacity = "1";
      // Said by a screen reader only where a person flips by hand.
      caption.setAttribute("aria-live", timer ? "off" : "polite");
      caption.textContent = names[second ? 1 : 0];
    } else {
      under.style.visibility = over.style.visibility = "visible";
      over.style.opacity = mode === "overlay" ? String(share.value / 100) : "1";
      caption.textContent = names.join(" / ");
    }
    for (const button of comparison.querySelectorAll("[data-cardigan-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.cardiganMode === mode));
    }
  }

  function setMode(wanted) {
    clearInterval(timer);
    // Asking for blinking again stops it; with reduced motion it never runs by itself.
    const runs = wanted === "blink" && !still.matches && !(mode === "blink" && timer);
    mode = wanted;
    timer = runs ? setInterval(() => { second = !second; paint(); }, BLINK_MS) : 0;
    paint();
  }

  function flip() {
    clearInterval(timer);
    timer = 0;
    if (mode !== "blink") {
      mode = "blink";
    }
    second = !second;
    paint();
  }

  function mirror(on) {
    const is = stage.classList.toggle("is-mirrored", on);
    comparison.querySelector("[data-cardigan-mirror]").setAttribute("aria-pressed", String(is));
  }

  function compare(button, wanted) {
    if (!button) {
      return;
    }
    under.src = button.dataset.first;
    over.src = button.dataset.second;
    names = [button.dataset.firstName, button.dataset.secondName];
    under.alt = names[0];
    over.alt = names[1];
    comparison.querySelector("[data-cardigan-words]").textContent = button.dataset.words;
    mirror("mirrored" in button.dataset);
    share.value = 50;
    second = false;
    clearInterval(timer);
    timer = 0;
    mode = "";
    setMode(wanted);
    comparison.showModal();
    stage.focus();
  }

  comparison.addEventListener("close", () => {
    clearInterval(timer);
    timer = 0;
  });
  share.addEventListener("input", paint);
  comparison.querySelector("[data-cardigan-flip]").addEventListener("click", flip);
  comparison.querySelector("[data-cardigan-mirror]").addEventListener("click", () => mirror());
  for (const button of comparison.querySelectorAll("[data-cardigan-mode]")) {
    button.addEventListener("click", () => setMode(button.dataset.cardiganMode));
  }
  for (const button of document.querySelectorAll("[data-cardigan-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }

  comparison.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const does = {
      b: () => setMode("blink"),
      o: () => { setMode("overlay"); share.focus(); },
      x: () => setMode("difference"),
      f: () => mirror(),
      " ": flip,
    }[event.key];
    // On a button, the space bar presses that button.
    const presses = event.key === " " && event.target.closest("button, input");
    if (does && !presses && (event.key === " " || !keysAreOff())) {
      event.preventDefault();
      does();
    }
  });

  // Keys of the page

  const off = help.querySelector("[data-cardigan-keys-off]");
  const keysAreOff = () => off.checked;
  try {
    off.checked = localStorage.getItem(KEYS_OFF) === "1";
  } catch {
    // A browser that keeps nothing: the keys are on.
  }
  off.addEventListener("change", () => {
    try {
      localStorage.setItem(KEYS_OFF, off.checked ? "1" : "0");
    } catch {
      // It holds for this page.
    }
  });

  function step(by) {
    const shown = groups();
    const at = shown.indexOf(current());
    const to = at === -1 ? (by > 0 ? 0 : shown.length - 1) : at + by;
    if (shown[to]) {
      focusOn(shown[to]);
    } else if (by > 0 && judged > 0) {
      // What was judged has left the list, and what comes next has moved up to this page.
      location.reload();
    } else if (by > 0 && list.dataset.nextPage) {
      location.assign(list.dataset.nextPage);
    }
  }

  function press(key) {
    current()?.querySelector(`[data-cardigan-key="${key}"]`)?.click();
  }

  /* The digit on a key, or else what it writes: a French keyboard writes "&" where 1 stands. */
  function digitOn(event) {
    return (!event.shiftKey && /^Digit(\d)$/.exec(event.code)?.[1]) || event.key;
  }

  function isTyping(target) {
    return target.matches?.("textarea, select, input:not([type=checkbox])");
  }

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) {
      return;
    }
    if (isTyping(target)) {
      if (event.key === "Escape" && target.closest("[data-cardigan-group]")) {
        focusOn(target.closest("[data-cardigan-group]"));
      }
      return;
    }
    // A key that is held would judge group after group.
    if (keysAreOff() || (event.repeat && !MOVING_KEYS.includes(event.key))) {
      return;
    }
    const group = current();
    const does = {
      j: () => step(1),
      ArrowRight: () => step(1),
      k: () => step(-1),
      ArrowLeft: () => step(-1),
      c: () => press("c"),
      d: () => press("d"),
      r: () => press("r"),
      m: () => press("m"),
      u: undo,
      n: () => group?.querySelector("textarea")?.focus(),
      s: () => group?.querySelector("[name=_selected_action]")?.click(),
      b: () => compare(group?.querySelector("[data-cardigan-compare]"), "blink"),
      o: () => {
        const button = group?.querySelector("[data-cardigan-compare]");
        compare(button, "overlay");
        if (button) {
          share.focus();
        }
      },
      x: () => compare(group?.querySelector("[data-cardigan-compare]"), "difference"),
      "?": () => help.showModal(),
    }[event.key];
    if (does) {
      event.preventDefault();
      does();
    } else if (/^[1-9]$/.test(digitOn(event))) {
      press(digitOn(event));
    }
  });

  const opener = document.querySelector("[data-cardigan-help]");
  opener.hidden = false;
  opener.addEventListener("click", () => help.showModal());

  // What only a script can do

  function sayBroken(image) {
    const blank = document.createElement("div");
    blank.className = "cardigan-blank";
    blank.textContent = status.dataset.broken;
    image.closest(".cardigan-large")?.replaceWith(blank);
  }

  function prepare(within) {
    for (const button of within.querySelectorAll("[data-cardigan-compare]")) {
      button.hidden = false;
      button.addEventListener("click", () => compare(button, "blink"));
    }
    for (const image of within.querySelectorAll(".cardigan-large img")) {
      image.addEventListener("error", () => sayBroken(image));
    }
  }

  prepare(list);
  for (const image of list.querySelectorAll(".cardigan-large img")) {
    if (image.complete && image.naturalWidth === 0) {
      sayBroken(image); // Before this script was there to hear of it.
    }
  }
})();
