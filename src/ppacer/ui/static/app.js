// What pages do by themselves: the theme, times in the zone of who looks, ticking, the keyboard, notices.
// Everything works without it; htmx swaps in what is new (see ui/live.py).
"use strict";
(() => {
  const root = document.documentElement;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => {
    try { value ? localStorage.setItem(name, value) : localStorage.removeItem(name); } catch { /* private mode */ }
  };

  // -- theme: before anything is painted ---------------------------------------------------------------

  const theme = remembered("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;

  function switchTheme() {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    if (next === system) delete root.dataset.theme; else root.dataset.theme = next;
    remember("theme", root.dataset.theme || "");
  }

  // -- times ---------------------------------------------------------------------------------------------

  let ahead = 0; // milliseconds that the clock of the server is before ours
  const now = () => Date.now() + ahead;
  const two = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const minute = (at) => `${day(at)}T${clock(at).slice(0, 5)}`; // as a field for date and time has it
  const UNITS = [["y", 31536000], ["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

  function ago(at) {
    const seconds = (at - now()) / 1000;
    for (const [unit, size] of UNITS) {
      const count = Math.floor(Math.abs(seconds) / size);
      if (count) return seconds > 0 ? `in ${count}${unit}` : `${count}${unit} ago`;
    }
    return "now";
  }

  function since(at) {
    const seconds = Math.max(0, Math.floor((now() - at) / 1000));
    if (seconds < 60) return `${seconds}s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)}h${two(Math.floor(seconds / 60) % 60)}m`;
    return `${Math.floor(seconds / 86400)}d${Math.floor(seconds / 3600) % 24}h`;
  }

  function inZone(at, name) {
    try {
      const parts = new Intl.DateTimeFormat("sv-SE", {
        timeZone: name, dateStyle: "short", timeStyle: "medium",
      });
      return `${parts.format(at)} ${name}`;
    } catch { return null; } // the browser does not know this zone
  }

  const SHOW = {
    ago,
    since,
    day: (at) => at.toLocaleDateString("en", { weekday: "short", day: "2-digit" }).split(" ").reverse().join(" "),
    hour: (at) => clock(at).slice(0, 5),
    clock: (at) => day(at) === day(new Date(now())) ? clock(at) : `${day(at)} ${clock(at).slice(0, 5)}`,
  };

  function show(time) {
    const at = new Date(time.dateTime);
    const text = SHOW[time.dataset.show](at);
    if (time.textContent !== text) time.textContent = text;
  }

  function localize(node) {
    for (const time of node.querySelectorAll("time[data-show]")) {
      const at = new Date(time.dateTime);
      const zones = [zone, time.dataset.zoneOf || "UTC", "UTC"];
      time.title = [...new Set(zones)].map((name) => inZone(at, name)).filter(Boolean).join(" · ");
      show(time);
    }
    for (const input of node.querySelectorAll("input[data-utc]")) { // without scripts it shows UTC
      if (input.dataset.utc) input.setAttribute("value", minute(new Date(`${input.dataset.utc}Z`)));
    }
    for (const place of node.querySelectorAll("[data-zone]")) place.textContent = zone;
  }

  // What a form sends: times that were given in the zone of who looks, and runs that were ticked and have
  // left the page since.
  function complete(event) {
    for (const input of event.target.querySelectorAll("input[data-utc]")) {
      if (input.value) event.formData.set(input.name, `${new Date(input.value).toISOString().slice(0, 16)}Z`);
    }
    if (!event.target.matches(".picked")) return;
    for (const run of picked) if (!event.formData.getAll("run").includes(run)) event.formData.append("run", run);
  }

  function tick() {
    if (root.hasAttribute("data-away")) return; // what is counted may have ended: it stands as it was last heard
    for (const time of document.querySelectorAll('time[data-show="ago"], time[data-show="since"]')) show(time);
  }

  // Tabs that do not fit are scrolled to the one that is open.
  function showTab() {
    for (const tab of document.querySelectorAll(":is(.bar nav, .sections) [aria-current]")) {
      const row = tab.parentElement, at = tab.getBoundingClientRect(), room = row.getBoundingClientRect();
      row.scrollLeft += at.left - room.left - (room.width - at.width) / 2;
    }
  }

  // Whether the server answers; the header says so instead of the scheduler's state, which nobody knows then.
  function away(is) {
    if (is === root.hasAttribute("data-away")) return;
    root.toggleAttribute("data-away", is);
    const place = document.getElementById("away"), time = document.createElement("time");
    place.replaceChildren();
    if (!is) { tick(); return; }
    time.dateTime = new Date(now()).toISOString();
    time.dataset.show = "clock";
    place.append("no connection since ", time);
    localize(place);
  }

  // -- notices -------------------------------------------------------------------------------------------

  let stale = 0;
  function tell(text, isTrouble) {
    const place = document.getElementById("notices");
    const line = document.createElement("p");
    line.className = isTrouble ? "trouble" : "notice";
    line.textContent = text;
    place.replaceChildren(line);
    clearTimeout(stale);
    if (!isTrouble) stale = setTimeout(() => line.remove(), 8000);
  }

  // -- the keyboard --------------------------------------------------------------------------------------

  let isGoing = false; // after g
  const isTyping = (at) => at.matches("input:not([type=button], [type=checkbox]), textarea, select, [contenteditable]");
  const help = () => document.getElementById("help");
  const rows = () => [...document.querySelectorAll("main .list > tbody > tr")];

  function move(step) {
    const every = rows();
    if (!every.length) return;
    const at = every.findIndex((row) => row.hasAttribute("data-at"));
    every[at]?.removeAttribute("data-at");
    const next = every[at < 0 ? (step > 0 ? 0 : every.length - 1) : Math.max(0, Math.min(every.length - 1, at + step))];
    next.setAttribute("data-at", "");
    next.scrollIntoView({ block: "nearest" });
    next.querySelector("a[href]")?.focus({ preventScroll: true });
  }

  const KEYS = {
    "/": () => document.querySelector("[role=search] input[type=search]")?.focus(),
    "?": () => help()?.showModal(),
    "j": () => move(1),
    "k": () => move(-1),
    "g": () => { isGoing = true; setTimeout(() => { isGoing = false; }, 1500); },
  };

  // The list of the keys can be read while they are pressed.
  function isFree(key) {
    const open = document.querySelector("dialog[open]");
    return !open || (open === help() && key === "g");
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) {
      if (event.key === "Escape" && isTyping(event.target)) event.target.blur();
      return;
    }
    const there = isGoing && document.querySelector(`#help a[data-key="${CSS.escape(event.key)}"]`);
    isGoing = false;
    if (there) location.assign(there.href);
    else if (KEYS[event.key] && isFree(event.key)) KEYS[event.key]();
    else return;
    event.preventDefault();
  }

  // -- what squares and bars say when they are pointed at, and a way over the grid for the arrow keys -------

  let tip = null;
  function hint(event) {
    const over = event.target.closest?.("[data-tip]");
    tip?.remove();
    tip = null;
    if (!over || event.type === "focusout" || event.type === "mouseout") return;
    tip = document.createElement("p");
    tip.className = "tip";
    tip.setAttribute("aria-hidden", "true");
    tip.textContent = [over.getAttribute("aria-label") || over.textContent, timeOver(over)].filter(Boolean).join(" · ");
    document.body.append(tip);
    const at = over.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const top = at.top - size.height - 6;
    tip.style.top = `${top < 4 ? at.bottom + 6 : top}px`;
    tip.style.left = `${Math.max(4, Math.min(innerWidth - size.width - 4, at.left + at.width / 2 - size.width / 2))}px`;
  }

  // The time of the run at the head of the column in which a square stands.
  function timeOver(square) {
    const cell = square.closest("td");
    return cell?.closest("table").tHead.rows[0].cells[cell.cellIndex].querySelector("time")?.textContent;
  }

  const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  function walk(event) {
    const cell = event.target.closest?.(".grid td, .grid th");
    if (!cell || !ARROWS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    const [down, right] = ARROWS[event.key], rows = cell.closest("table").rows;
    let row = cell.parentElement.rowIndex, column = cell.cellIndex, found = null;
    while (!found && rows[row += down]?.cells[column += right]) found = rows[row].cells[column].querySelector("a");
    found?.focus();
    event.preventDefault();
  }

  // -- a form of another page, in a dialog over this one -------------------------------------------------

  async function mainOf(url) {
    const answer = await fetch(url);
    return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main") : null;
  }

  async function openForm(link) {
    const form = await mainOf(link.href).catch(() => null);
    if (!form) { location.assign(link.href); return; }
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-label", link.getAttribute("aria-label") || link.textContent);
    dialog.append(...form.childNodes);
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    document.body.append(dialog);
    dialog.showModal();
  }

  function click(event) {
    const on = (selector) => event.target.closest(selector);
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (on("[data-theme-switch]")) switchTheme();
    else if (on("[data-help]")) help().showModal();
    else if (on("[data-forget]")) { for (const run of unseen()) picked.delete(run); countUnseen(); }
    else if (on("dialog [data-close]")) { event.preventDefault(); on("dialog").close(); }
    else if (on("a[data-dialog]")) { event.preventDefault(); openForm(on("a[data-dialog]")); }
    else if (on(".copy")) navigator.clipboard?.writeText(on(".copy").textContent).then(() => tell("Copied."));
    for (const open of document.querySelectorAll("details.ask[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  }

  // -- what htmx tells -----------------------------------------------------------------------------------

  document.addEventListener("htmx:before:swap", (event) => {
    for (const task of event.detail.tasks) localize(task.fragment);
  });
  const formOf = (event) => event.detail.ctx?.sourceElement?.closest?.("form.act");
  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail, form = formOf(event);
    if (!form) return;
    if (ctx.response.status === 401) { location.assign("/login"); return; }
    tell(ctx.text, !ctx.response.raw.ok);
    form.closest("details.ask")?.removeAttribute("open");
  });
  document.addEventListener("htmx:error", (event) => {
    if (formOf(event)) tell("The server gave no answer: look whether it was done before you try again.", true);
    else connectAgain(event.detail.ctx?.sourceElement);
  });
  document.addEventListener("htmx:response:error", (event) => { // a proxy, say, that has lost the server
    const { ctx } = event.detail;
    if (formOf(event)) return;
    if (ctx.response.status === 401) location.assign("/login");
    else connectAgain(ctx.sourceElement);
  });
  // Once it was connected, a stream comes back by itself.
  function connectAgain(main) {
    const url = main?.getAttribute?.("hx-sse:connect");
    if (!url) return;
    away(true);
    setTimeout(() => htmx.ajax("GET", url, { source: main }), 2000);
  }
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) location.assign("/login");
    away(true);
  });
  document.addEventListener("htmx:sse:after:connection", () => away(false));
  document.addEventListener("full", (event) => tell(event.detail.data, true));
  document.addEventListener("trouble", (event) => { // until the page can be read again
    tell(event.detail.data, true);
    document.querySelector("#notices p").setAttribute("data-passes", "");
  });
  document.addEventListener("htmx:sse:after:message", (event) => {
    if (event.detail.message.event !== "trouble") document.querySelector("#notices [data-passes]")?.remove();
  });

  // -- lists: rows that are ticked, filters that need no button -----------------------------------------

  const picked = new Set();
  function change(event) {
    const all = event.target.closest("[data-pick-all]");
    if (all) for (const one of all.form.querySelectorAll("input[name=run]")) one.checked = all.checked;
    for (const one of event.target.closest(".picked")?.querySelectorAll("input[name=run]") ?? []) {
      if (one.checked) picked.add(one.value); else picked.delete(one.value);
    }
    event.target.closest("select[data-submits]")?.form.requestSubmit();
    countUnseen();
  }

  // Runs that were ticked and have left the page since are still meant, so it is said how many there are.
  const unseen = () => [...picked].filter((run) => !document.querySelector(`.picked input[name=run][value="${run}"]`));
  function countUnseen() {
    const place = document.querySelector("[data-unseen]"), count = unseen().length;
    if (!place) return;
    place.hidden = !count;
    place.querySelector("span").textContent = `and ${count} selected before that ${count === 1 ? "has" : "have"} left this page`;
  }
  document.addEventListener("htmx:sse:after:message", countUnseen);

  document.addEventListener("DOMContentLoaded", () => {
    const server = document.querySelector("meta[name=now]");
    if (server) ahead = new Date(server.content) - Date.now();
    for (const hidden of document.querySelectorAll("[data-theme-switch], [data-help]")) hidden.hidden = false;
    localize(document);
    showTab();
    setInterval(tick, 1000);
    document.addEventListener("keydown", press);
    document.addEventListener("keydown", walk);
    document.addEventListener("click", click);
    for (const name of ["mouseover", "mouseout", "focusin", "focusout"]) document.addEventListener(name, hint);
    document.addEventListener("change", change);
    document.addEventListener("formdata", complete);
  });
})();
