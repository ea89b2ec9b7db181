// The log of an attempt: it follows, searches, and holds a window of the lines, however many there are.
// It begins with the lines that the page has; all others are asked of the API, page by page, by their log_id.
"use strict";
(() => {
  const PAGE = 500, WINDOW = 2000; // lines that are asked for at once, and that the document has at most
  const NEAR = 800; // pixels before an end at which the next page is asked for
  const BURST = 1000; // lines in one answer to a follower, at which it goes on from the end
  const CHARS_MAX = 4000; // of one line; the rest is shown when asked for
  const OURS = ["stream", "end"]; // attributes that ppacer adds
  const WAIT = 25, REST = 2, AGAIN = 2000; // seconds of a long poll, for the last lines, milliseconds after a failure
  const ESCAPE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])?/g;
  const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

  const section = document.querySelector("section.logs");
  const box = section?.querySelector(".log");
  if (!box) return;
  const find = (selector) => section.querySelector(selector);
  const list = box.querySelector("ol"), empty = box.querySelector(".empty"), form = find("form");
  const text = form.elements.text, level = form.elements.level;
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private mode */ } };

  let turn = 0; // counts what is shown: an answer to an earlier question is of no use
  let isFirst = list.children.length < PAGE, isLast = true; // whether nothing comes before, or behind
  let isFollowing = false, isLoading = false, isSinceStart = remembered("log-times") === "since";
  let newest = 0; // the highest log_id ever seen
  let poll = new AbortController();

  const isOpen = () => section.dataset.open === "true";
  const idOf = (line) => Number(line.id.slice(1));
  const firstId = () => list.firstElementChild ? idOf(list.firstElementChild) : 0;
  const lastId = () => Math.max(newest, list.lastElementChild ? idOf(list.lastElementChild) : 0);
  const isAtEnd = () => box.scrollHeight - box.clientHeight - box.scrollTop < 30;
  const toEnd = () => { box.scrollTop = box.scrollHeight; };
  const say = (words) => { find("[data-say]").textContent = words; };

  // -- lines -----------------------------------------------------------------------------------------------

  function element(name, className, content) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  }

  function marked(place, words) {
    const wanted = text.value.toLowerCase(), low = words.toLowerCase();
    let at = 0;
    for (let next; wanted && low.length === words.length && (next = low.indexOf(wanted, at)) >= 0; at = next + wanted.length) {
      place.append(words.slice(at, next), element("mark", "", words.slice(next, next + wanted.length)));
    }
    place.append(words.slice(at));
  }

  function body(record) {
    const whole = record.message.replace(ESCAPE, "").replace(CONTROL, ""), place = element("span", "text");
    marked(place, whole.slice(0, CHARS_MAX));
    if (whole.length > CHARS_MAX) {
      const more = element("button", "link", `${(whole.length - CHARS_MAX).toLocaleString("en")} more characters`);
      more.type = "button";
      more.addEventListener("click", () => more.replaceWith(whole.slice(CHARS_MAX)));
      place.append("… ", more);
    }
    const more = Object.entries(record.attributes ?? {}).filter(([name]) => !OURS.includes(name));
    if (more.length) place.append(" ", element("span", "more", JSON.stringify(Object.fromEntries(more))));
    return place;
  }

  function lineOf(record) {
    const line = element("li", record.level), link = element("a"), time = element("time");
    line.id = `L${record.log_id}`;
    link.href = `#${line.id}`;
    time.dateTime = record.at;
    link.append(time);
    const source = record.level === "INFO" && record.attributes?.stream || record.level;
    line.append(link, element("span", "level", source), body(record));
    showTime(time);
    return line;
  }

  const two = (number) => String(number).padStart(2, "0");

  function showTime(time) {
    const at = new Date(time.dateTime), millis = String(at.getMilliseconds()).padStart(3, "0");
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${millis}`;
    time.title = `${at.toLocaleString("sv-SE")} · ${time.dateTime}`;
    time.textContent = isSinceStart ? `+${((at - new Date(section.dataset.begun)) / 1000).toFixed(3)}s` : clock;
  }

  function keeping(line, change) { // what is seen of a line stays where it is
    const before = line?.getBoundingClientRect().top;
    change();
    if (line?.isConnected) box.scrollTop += line.getBoundingClientRect().top - before;
  }

  function prepend(records) {
    keeping(list.firstElementChild, () => {
      list.prepend(...records.map(lineOf));
      while (list.children.length > WINDOW) { list.lastElementChild.remove(); isLast = false; }
    });
  }

  function append(records) {
    keeping(isFollowing ? null : list.lastElementChild, () => {
      const known = list.lastElementChild ? idOf(list.lastElementChild) : 0;
      list.append(...records.filter((record) => record.log_id > known).map(lineOf));
      while (list.children.length > WINDOW) { list.firstElementChild.remove(); isFirst = false; }
    });
    if (isFollowing) toEnd();
    counted();
  }

  function replace(records) {
    list.replaceChildren(...records.map(lineOf));
    counted();
  }

  function counted() {
    newest = lastId();
    empty.hidden = list.children.length > 0;
    if (!empty.hidden) empty.textContent = text.value || level.value ? "No line fits." : "Nothing was said yet.";
  }

  // -- asking ----------------------------------------------------------------------------------------------

  async function ask(question, signal) {
    const url = new URL(`/api/v1/runs/${section.dataset.run}/logs`, location.origin);
    const whole = { task_id: section.dataset.task, retry: section.dataset.retry, text: text.value, level: level.value, ...question };
    for (const [name, value] of Object.entries(whole)) if (value !== "") url.searchParams.set(name, value);
    const answer = await fetch(url, { signal, headers: { accept: "application/json" } });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    return found;
  }

  async function load(work) { // one at a time; says what goes wrong
    const mine = turn;
    isLoading = true;
    section.setAttribute("aria-busy", "true");
    try {
      await work(() => mine === turn);
    } catch (error) {
      if (mine === turn) say(error.message);
    } finally {
      if (mine === turn) { isLoading = false; section.removeAttribute("aria-busy"); }
    }
  }

  const older = () => load(async (isCurrent) => {
    const { records } = await ask({ tail: PAGE, before: firstId() });
    if (!isCurrent()) return;
    isFirst = records.length < PAGE;
    prepend(records);
  });

  const newer = (wait = 0) => load(async (isCurrent) => {
    const known = list.lastElementChild ? idOf(list.lastElementChild) : 0;
    const { records } = await ask({ after: known, limit: PAGE, wait });
    if (!isCurrent()) return;
    isLast = records.length < PAGE;
    append(records);
  });

  function anew() { // what is shown now is left
    turn += 1;
    newest = 0;
    stop("");
  }

  async function showEnd(follows = isOpen()) {
    anew();
    await load(async (isCurrent) => {
      const { records } = await ask({ tail: PAGE });
      if (!isCurrent()) return;
      [isFirst, isLast] = [records.length < PAGE, true];
      replace(records);
      toEnd();
    });
    if (follows) follow();
  }

  async function showStart() {
    anew();
    await load(async (isCurrent) => {
      const { records } = await ask({ limit: PAGE });
      if (!isCurrent()) return;
      [isFirst, isLast] = [true, records.length < PAGE];
      replace(records);
      box.scrollTop = 0;
    });
  }

  async function showLine(id) {
    if (!document.getElementById(`L${id}`)) {
      anew();
      text.value = level.value = "";
      await load(async (isCurrent) => {
        const [above, below] = await Promise.all([ask({ tail: PAGE, before: id + 1 }), ask({ after: id, limit: PAGE })]);
        if (!isCurrent()) return;
        [isFirst, isLast] = [above.records.length < PAGE, below.records.length < PAGE];
        replace([...above.records, ...below.records]);
      });
    }
    const line = document.getElementById(`L${id}`);
    for (const other of list.querySelectorAll(".linked")) other.classList.remove("linked");
    if (!line) { say("The line that was linked to is not in this log, or not any more."); return; }
    stop("");
    line.classList.add("linked");
    box.scrollTop += line.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
  }

  // -- following -------------------------------------------------------------------------------------------

  function stop(words) {
    isFollowing = false;
    poll.abort();
    find("[data-follow]").setAttribute("aria-pressed", "false");
    say(words);
  }

  const seen = () => new Promise((done) => { // when somebody looks at the page
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });

  async function follow() {
    if (isFollowing) return;
    const mine = turn;
    isFollowing = true;
    find("[data-follow]").setAttribute("aria-pressed", "true");
    say("Following");
    toEnd();
    for (;;) {
      await seen(); // of a browser's few connections to a host a hidden tab takes none
      if (!isFollowing || mine !== turn) return;
      poll = new AbortController();
      try {
        const isAsked = isOpen();
        const { records, ended } = await ask({ after: lastId(), limit: BURST, wait: isAsked ? WAIT : REST }, poll.signal);
        if (!isFollowing || mine !== turn) return;
        if (records.length === BURST) { showEnd(true); return; }
        append(records);
        if (isFollowing) say("Following");
        if (ended || (!isAsked && !records.length)) stop("The end");
      } catch (error) {
        if (!isFollowing || mine !== turn) return;
        if (error.name !== "AbortError") {
          say(`${/fetch|network/i.test(error.message) ? "No connection" : error.message}; trying again`);
          await new Promise((done) => setTimeout(done, AGAIN));
        }
      }
    }
  }

  function scrolled() {
    if (isFollowing) {
      if (!isAtEnd()) stop("Following stopped, as you scrolled up");
      return;
    }
    if (isLoading) return;
    if (box.scrollTop < NEAR && !isFirst && list.firstElementChild) older();
    else if (!isLast && box.scrollHeight - box.clientHeight - box.scrollTop < NEAR) newer();
    else if (isLast && isAtEnd() && isOpen()) follow();
  }

  // -- controls --------------------------------------------------------------------------------------------

  const press = (button, isPressed) => button.setAttribute("aria-pressed", String(isPressed));

  function wrap(isWrapped) {
    box.classList.toggle("long", !isWrapped);
    press(find("[data-wrap]"), isWrapped);
    remember("log-wrap", isWrapped ? "" : "no");
    if (isFollowing) toEnd();
  }

  function times(isSince) {
    isSinceStart = isSince;
    press(find("[data-times]"), isSince);
    remember("log-times", isSince ? "since" : "");
    for (const time of list.querySelectorAll("time")) showTime(time);
  }

  let typing = 0;
  function filter() {
    clearTimeout(typing);
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
    showEnd();
  }

  text.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 300); });
  level.addEventListener("change", filter);
  form.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
  find("[data-find]").hidden = true;
  for (const older of section.querySelectorAll(".older")) older.remove();
  find("[data-switches]").hidden = false;
  find("[data-follow]").addEventListener("click", () => {
    if (isFollowing) stop("");
    else if (isLast) follow();
    else showEnd(true);
  });
  find('[data-jump="start"]').addEventListener("click", showStart);
  find('[data-jump="end"]').addEventListener("click", () => showEnd());
  find("[data-wrap]").addEventListener("click", () => wrap(box.classList.contains("long")));
  find("[data-times]").addEventListener("click", () => times(!isSinceStart));
  box.addEventListener("scroll", scrolled, { passive: true });
  box.addEventListener("keydown", (event) => {
    if (event.target !== box || !["Home", "End"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Home") showStart(); else showEnd();
  });
  list.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#L"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", text.value || level.value ? location.pathname + link.hash : link.hash);
    if (text.value || level.value) list.replaceChildren(); // shown among its neighbours
    showLine(Number(link.hash.slice(2)));
  });
  addEventListener("hashchange", () => { if (/^#L\d+$/.test(location.hash)) showLine(Number(location.hash.slice(2))); });
  document.addEventListener("visibilitychange", () => { if (document.hidden && isFollowing) poll.abort(); });
  addEventListener("resize", () => { if (isFollowing) toEnd(); });
  new MutationObserver((changes) => {
    find("[data-follow]").hidden = !isOpen();
    if (changes.some((change) => change.attributeName === "data-retry")) showEnd();
    else if (isFollowing) poll.abort();
  }).observe(section, { attributeFilter: ["data-retry", "data-open"] });

  find("[data-follow]").hidden = !isOpen();
  wrap(remembered("log-wrap") !== "no");
  times(isSinceStart);
  const wanted = /^#L(\d+)$/.exec(location.hash);
  if (wanted) showLine(Number(wanted[1]));
  else if (new URLSearchParams(location.search).has("before")) isLast = false;
  else {
    toEnd();
    if (isOpen()) follow();
    else { // what was said last may have been on its way
      const top = box.scrollTop;
      newer(REST).then(() => { if (box.scrollTop === top) toEnd(); });
    }
  }
})();
