/* The photo search in a browser: docs/photo-page.md. Without it the page is a plain form.

The photo is drawn upright onto a canvas, which is the preview and, as a JPEG without place and
date, what is sent. Everything that is said comes from the page's data attributes. */
"use strict";
{
const LONGEST_SIDE = 1600;
const QUALITY = 0.9;
const SMALLEST_SHARE = 0.08;
const STEP = 0.02;
const PAUSE_MS = 350;
const PATIENCE_MS = 30000;
const KEPT = "cardigan-photo";
const NARROW = 800;
const WHOLE = [0, 0, 1, 1];
const PICTURE = /^image\/|\.(hei[cf]|jpe?g|png|webp)$/i; // Of a type or, without one, of a name.
const TYPED_INTO = "input:not([type=file]), textarea, select, [contenteditable]";

const between = (low, value, high) => Math.min(high, Math.max(low, value));

function later(action, milliseconds) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch (error) {
    // Before 17, Safari turns a photo by itself and doesn't know the word for it.
    if (error instanceof TypeError) return createImageBitmap(file);
    throw error;
  }
}

/* Draws a file; rejects what this browser can't read. */
async function draw(file, canvas) {
  const picture = await decode(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
}

function toJpeg(canvas) {
  return new Promise((resolve, reject) => {
    const done = (blob) => (blob ? resolve(blob) : reject(new Error("No JPEG was made.")));
    canvas.toBlob(done, "image/jpeg", QUALITY);
  });
}

function toBlob(url) {
  const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/jpeg" });
}

/* A photo waits in the tab for the page of results, or for the way back to it. */
function keep(photo) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(photo));
    return true;
  } catch {
    return false;
  }
}

function takeKept() {
  try {
    const photo = JSON.parse(sessionStorage.getItem(KEPT));
    sessionStorage.removeItem(KEPT);
    const [entry] = performance.getEntriesByType("navigation");
    const isBack = entry && ["back_forward", "reload"].includes(entry.type);
    return photo && (photo.isHandedOver || isBack) ? photo : null;
  } catch {
    return null;
  }
}

/* Why a file that can't be drawn is of no use to the server either; "" if it may be. */
function trouble(file, box) {
  if (/hei[cf]/i.test(`${file.type} ${file.name}`)) return box.dataset.textHeic;
  return file.size > Number(box.dataset.bytes) ? box.dataset.textLarge : "";
}

/* Calls `use` with a file that is chosen, taken, dropped onto `zone` or, if it is a
picture, pasted where nothing is typed. */
function watch(box, zone, use) {
  for (const input of box.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      if (!file) return;
      input.value = ""; // So that the same file can be chosen again.
      use(file);
    });
  }
  const hasFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  let depth = 0;
  const over = (change) => {
    depth = change ? Math.max(0, depth + change) : 0;
    box.toggleAttribute("data-over", depth > 0);
  };
  zone.addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  zone.addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  zone.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  zone.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(0);
    if (event.dataTransfer.files[0]) use(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    // A spreadsheet puts a picture of its cells beside their text.
    if (event.target.closest?.(TYPED_INTO)) return;
    const [file] = event.clipboardData ? event.clipboardData.files : [];
    if (!file || !PICTURE.test(file.type || file.name)) return;
    event.preventDefault();
    use(file);
  });
}

/* The box on another page: draws the photo and hands it to the page of results. */
function handOver(form) {
  const box = form.querySelector("[data-cardigan-box]");
  const said = box.querySelector(".cardigan-photo-trouble");
  watch(box, box, async (file) => {
    const canvas = document.createElement("canvas");
    said.textContent = "";
    try {
      await draw(file, canvas);
      if (keep({ picture: canvas.toDataURL("image/jpeg", QUALITY), isHandedOver: true })) {
        location.assign(form.action);
        return;
      }
      file = new File([await toJpeg(canvas)], "photo.jpg", { type: "image/jpeg" });
    } catch {
      said.textContent = trouble(file, box);
      if (said.textContent) return;
    }
    const files = new DataTransfer();
    files.items.add(file);
    box.querySelector("input[type=file]").files = files.files;
    form.submit();
  });
}

/* The frame that chooses a part of the photo, moved by fingers, mouse and keys. */
class Frame {
  constructor(element, picture, shade, changed) {
    Object.assign(this, { element, picture, shade, changed });
    this.set(WHOLE);
    element.addEventListener("pointerdown", (event) => this.grab(event));
    element.addEventListener("keydown", (event) => this.press(event));
  }

  get isWhole() {
    return this.sides.every((side, place) => Math.abs(side - WHOLE[place]) < 0.001);
  }

  set(sides) {
    this.sides = sides;
    const [left, top, right, bottom] = sides;
    for (const { style } of [this.element, this.shade]) {
      style.left = `${left * 100}%`;
      style.top = `${top * 100}%`;
      style.width = `${(right - left) * 100}%`;
      style.height = `${(bottom - top) * 100}%`;
    }
    this.element.toggleAttribute("data-whole-photo", this.isWhole);
  }

  move([left, top, right, bottom], x, y) {
    const across = between(-left, x, 1 - right);
    const down = between(-top, y, 1 - bottom);
    this.set([left + across, top + down, right + across, bottom + down]);
  }

  pull(corner, [left, top, right, bottom], x, y) {
    if (corner.includes("w")) left = between(0, left + x, right - SMALLEST_SHARE);
    else right = between(left + SMALLEST_SHARE, right + x, 1);
    if (corner.includes("n")) top = between(0, top + y, bottom - SMALLEST_SHARE);
    else bottom = between(top + SMALLEST_SHARE, bottom + y, 1);
    this.set([left, top, right, bottom]);
  }

  /* Draws a new frame between two points; there is nothing to move while it is all around. */
  span(x, y, toX, toY) {
    const right = between(SMALLEST_SHARE, Math.max(x, toX), 1);
    const bottom = between(SMALLEST_SHARE, Math.max(y, toY), 1);
    const left = between(0, Math.min(x, toX), right - SMALLEST_SHARE);
    this.set([left, between(0, Math.min(y, toY), bottom - SMALLEST_SHARE), right, bottom]);
  }

  grab(event) {
    if (event.button !== 0) return;
    const corner = event.target.dataset.corner;
    const isNew = !corner && this.isWhole;
    if (isNew && event.pointerType === "touch") return; // A finger scrolls the page there.
    const area = this.picture.getBoundingClientRect();
    const place = ({ clientX, clientY }) => [
      between(0, (clientX - area.left) / area.width, 1),
      between(0, (clientY - area.top) / area.height, 1),
    ];
    const before = this.sides;
    const [x, y] = place(event);
    const follow = (moved) => {
      const [toX, toY] = place(moved);
      if (isNew) this.span(x, y, toX, toY);
      else if (corner) this.pull(corner, before, toX - x, toY - y);
      else this.move(before, toX - x, toY - y);
    };
    const held = event.target;
    const release = () => {
      held.removeEventListener("pointermove", follow);
      held.removeEventListener("pointerup", release);
      held.removeEventListener("pointercancel", release);
      if (this.sides !== before) this.changed();
    };
    held.setPointerCapture(event.pointerId);
    held.addEventListener("pointermove", follow);
    held.addEventListener("pointerup", release);
    held.addEventListener("pointercancel", release);
  }

  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // The browser's own, such as Back.
    const across = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key] || 0;
    const down = { ArrowUp: -STEP, ArrowDown: STEP }[event.key] || 0;
    if (!across && !down) return;
    event.preventDefault();
    const corner = event.target.dataset.corner || (event.shiftKey ? "se" : "");
    if (corner) this.pull(corner, this.sides, across, down);
    else this.move(this.sides, across, down);
    this.changed();
  }
}

/* The page of the photo search. */
class PhotoSearch {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.root = root;
    this.text = root.dataset;
    this.form = find("form");
    this.box = find("[data-cardigan-box]");
    this.stage = find("[data-stage]");
    this.canvas = find("canvas");
    this.section = find(".cardigan-photo-results");
    this.results = find("[data-results]");
    this.status = find(".cardigan-photo-status");
    this.again = find("[data-again]");
    this.turn = 0;
    this.page = 1;
    const soon = later(() => this.search(), PAUSE_MS);
    const speak = later(() => this.speak(find("[data-spoken]")), PAUSE_MS);
    const changed = () => {
      soon();
      speak();
    };
    this.frame = new Frame(find("[data-frame]"), find("[data-picture]"), find("[data-shade]"), changed);
    watch(this.box, document, (file) => this.take(file));
    find("[data-whole]").addEventListener("click", () => {
      this.frame.set(WHOLE);
      changed();
    });
    find("[data-remove]").addEventListener("click", () => this.remove());
    this.again.addEventListener("click", () => this.search(this.page));
    this.form.addEventListener("change", (event) => event.target.type !== "file" && soon());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      soon();
    });
    root.addEventListener("click", (event) => this.follow(event));
    addEventListener("online", () => this.isOffline && this.search(this.page));
    addEventListener("pagehide", () => this.leave());
    this.begin();
  }

  begin() {
    const kept = takeKept();
    const sample = this.root.querySelector("[data-sample][aria-current]");
    if (kept) {
      for (const [name, value] of kept.fields || []) {
        if (this.form.elements[name]) this.form.elements[name].value = value;
      }
      this.take(toBlob(kept.picture), kept.sides);
    } else if (sample) {
      this.takeSample(sample, false);
    }
  }

  leave() {
    if (this.stage.hidden) return;
    const fields = [...new FormData(this.form)].filter(
      ([name, value]) => typeof value === "string" && name !== "csrfmiddlewaretoken",
    );
    const picture = this.canvas.toDataURL("image/jpeg", QUALITY);
    keep({ picture, fields, sides: this.frame.sides });
  }

  follow(event) {
    const sample = event.target.closest("[data-sample]");
    const next = event.target.closest("[data-next]");
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (sample) {
      event.preventDefault();
      this.takeSample(sample, true);
    } else if (next && this.photo) {
      event.preventDefault();
      this.search(Number(next.dataset.next));
    }
  }

  async takeSample(link, searches) {
    const turn = ++this.turn;
    let file;
    if (searches) this.say(this.text.textBusy, "busy");
    try {
      const answer = await fetch(link.dataset.url);
      if (!answer.ok) throw new Error(answer.statusText);
      file = await answer.blob();
    } catch {
      if (searches && turn === this.turn) location.assign(link.href);
      return;
    }
    if (turn !== this.turn) return;
    const sides = link.dataset.crop ? link.dataset.crop.split(",").map(Number) : WHOLE;
    if (!(await this.take(file, sides, false))) return;
    link.setAttribute("aria-current", "true");
    if (!searches) return;
    this.reveal();
    this.frame.element.focus({ preventScroll: true });
    this.search();
  }

  /* Brings the photo to the top of the window, unless results have room beside it. */
  reveal() {
    if (this.root.getBoundingClientRect().top >= 0 && innerWidth >= NARROW) return;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.root.scrollIntoView({ block: "start", behavior: isCalm ? "instant" : "smooth" });
  }

  /* Shows a photo and searches by it; false if it can't be shown or another one came. */
  async take(file, sides = WHOLE, searches = true) {
    const turn = ++this.turn;
    const canvas = document.createElement("canvas");
    let photo = file;
    let isDrawn = true;
    if (searches) this.say(this.text.textBusy, "busy");
    try {
      await draw(file, canvas);
      photo = await toJpeg(canvas);
    } catch {
      isDrawn = false;
    }
    if (turn !== this.turn) return false;
    const why = isDrawn ? "" : trouble(file, this.box);
    this.hide();
    if (why) {
      this.results.replaceChildren();
      this.say(why, "refused");
      return false;
    }
    this.photo = photo; // One that this browser can't read: the server says what is wrong with it.
    this.frame.set(isDrawn ? sides : WHOLE);
    if (isDrawn) {
      this.canvas.width = canvas.width;
      this.canvas.height = canvas.height;
      this.canvas.getContext("2d").drawImage(canvas, 0, 0);
      this.stage.hidden = false;
      this.root.toggleAttribute("data-has-photo", true);
    }
    if (searches) {
      this.reveal();
      this.search();
    }
    return isDrawn;
  }

  hide() {
    this.turn += 1;
    if (this.request) this.request.abort();
    this.photo = null;
    this.stage.hidden = true;
    this.root.removeAttribute("data-has-photo");
    for (const link of this.root.querySelectorAll("[data-sample]")) {
      link.removeAttribute("aria-current");
    }
  }

  remove() {
    this.hide();
    this.results.replaceChildren();
    this.say(this.text.textStart, "start");
    this.box.querySelector("input[type=file]").focus();
  }

  async search(page = 1) {
    if (!this.photo) {
      // These results came with the page, and nobody has their photo any more.
      const isFound = ["found", "nothing"].includes(this.section.dataset.state);
      if (isFound) this.say(this.text.textForgotten, "refused");
      return;
    }
    if (this.request) this.request.abort();
    const request = new AbortController();
    this.request = request;
    this.page = page;
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      request.abort();
    }, PATIENCE_MS);
    this.say(this.text.textBusy, "busy");
    const form = new FormData(this.form);
    form.set("image", this.photo, "photo.jpg");
    form.set("page", page);
    if (!this.frame.isWhole) form.set("crop", this.frame.sides.map((s) => s.toFixed(4)).join());
    try {
      const answer = await fetch(this.form.action, {
        method: "POST",
        body: form,
        headers: { "X-Cardigan-Photo": "results" },
        signal: request.signal,
      });
      const html = await answer.text();
      if (request === this.request) this.show(answer, html, page);
    } catch {
      if (request !== this.request || !this.photo) return;
      const isOffline = !navigator.onLine;
      const { textOffline, textUnreachable, textLate } = this.text;
      const reason = isOffline ? textOffline : textUnreachable;
      this.say(isLate ? textLate : reason, "refused");
      this.offer(0);
      this.isOffline = isOffline;
    } finally {
      clearTimeout(timer);
    }
  }

  show(answer, html, page) {
    const found = new DOMParser().parseFromString(html, "text/html").querySelector("[data-cardigan-found]");
    if (!found) {
      this.say(this.reason(answer.status), "refused");
    } else {
      this.say(found.dataset.message, found.dataset.state);
      if (answer.ok && page > 1) this.append(found);
      else if (answer.ok || answer.status < 429) this.results.replaceChildren(found);
    }
    if (answer.status === 429 || answer.status >= 500) {
      this.offer(Number(answer.headers.get("Retry-After")) || 5);
    }
  }

  /* For an answer that isn't the page's own: a proxy's, or Django's to an old token. */
  reason(status) {
    if (status === 413) return this.text.textLarge;
    if (status === 403) return this.text.textOutdated;
    if ([429, 502, 503, 504].includes(status)) return this.text.textBusyShop;
    return this.text.textFailed;
  }

  append(found) {
    const list = this.results.querySelector("[data-items]");
    const more = this.results.querySelector(".cardigan-photo-more");
    const items = [...found.querySelectorAll("[data-items] > *")];
    list.append(...items);
    const next = found.querySelector(".cardigan-photo-more");
    if (next) more.replaceWith(next);
    else more.remove();
    const link = items[0] && items[0].querySelector("a");
    if (link) link.focus({ preventScroll: true });
  }

  say(text, state) {
    this.status.textContent = text;
    this.section.dataset.state = state;
    this.section.setAttribute("aria-busy", state === "busy");
    this.again.hidden = true;
    this.isOffline = false;
    clearInterval(this.clock);
  }

  /* Offers to try again, after so many seconds. */
  offer(seconds) {
    const count = () => {
      this.again.disabled = seconds > 0;
      this.again.textContent = seconds
        ? this.text.textAgainIn.replace("{seconds}", seconds)
        : this.text.textAgain;
      if (!seconds) clearInterval(this.clock);
      seconds -= 1;
    };
    this.again.hidden = false;
    this.clock = setInterval(count, 1000);
    count();
  }

  speak(place) {
    const [left, top, right, bottom] = this.frame.sides.map((side) => Math.round(side * 100));
    const sides = { left, top, right, bottom };
    place.textContent = this.text.textFrame.replace(/\{(\w+)\}/g, (_, name) => sides[name]);
  }
}

function start() {
  for (const root of document.querySelectorAll("[data-cardigan-photo]:not([data-ready])")) {
    root.toggleAttribute("data-ready", true);
    new PhotoSearch(root);
  }
  for (const form of document.querySelectorAll("[data-cardigan-elsewhere]:not([data-ready])")) {
    form.toggleAttribute("data-ready", true);
    handOver(form);
  }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
}
