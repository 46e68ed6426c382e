/* What pages do beyond HTML: everything is delegated from the document, so parts that HTMX swaps in work at once.
   Nothing here is needed for a page to work; words come from data-t-* attributes of <body>. */
"use strict";

(() => {
  const words = () => document.body.dataset;
  const closest = (event, selector) => (event.target instanceof Element ? event.target.closest(selector) : null);

  /* -- theme: light or dark, kept in a cookie that base.html reads -- */

  function toggleTheme() {
    const root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    root.dataset.theme = next;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `theme=${next}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }

  /* -- toasts -- */

  function icon(name) {
    // The shapes are in the page already: the toasts the server wrote and this one look the same.
    const paths = {
      success: "M22 11.08V12a10 10 0 1 1-5.93-9.14M22 4 12 14.01l-3-3",
      info: "M12 16v-4M12 8h.01M22 12a10 10 0 1 1-20 0 10 10 0 0 1 20 0Z",
      warning: "M12 9v4M12 17h.01M10.3 3.9 1.8 18a2 2 0 0 0 1.7 3h17a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0Z",
      error: "M12 8v4M12 16h.01M22 12a10 10 0 1 1-20 0 10 10 0 0 1 20 0Z",
      close: "M18 6 6 18M6 6l12 12",
    };
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const attributes = {
      viewBox: "0 0 24 24", width: 16, height: 16, fill: "none", stroke: "currentColor", "stroke-width": 2,
      "stroke-linecap": "round", "stroke-linejoin": "round", class: "icon", "aria-hidden": "true",
    };
    for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", paths[name] || paths.success);
    svg.append(path);
    return svg;
  }

  function toast(text, variant = "success") {
    const holder = document.getElementById("toasts");
    if (!holder || !text) return;
    const box = document.createElement("div");
    box.className = `toast toast-${variant}`;
    box.dataset.toast = "";
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "icon-button";
    close.dataset.toastClose = "";
    close.setAttribute("aria-label", words().tClose);
    close.append(icon("close"));
    box.append(icon(variant), paragraph, close);
    holder.append(box);
    expire(box);
  }

  function expire(box) {
    // What someone is reading or about to press stays.
    const later = () => {
      if (!box.isConnected) return;
      if (box.matches(":hover, :focus-within")) setTimeout(later, 2000);
      else box.remove();
    };
    setTimeout(later, box.classList.contains("toast-error") ? 15000 : 8000);
  }

  /* -- copy -- */

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // No clipboard API on plain http beyond localhost: the old way.
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "visually-hidden";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    toast(words().tCopied);
  }

  /* -- password fields -- */

  function reveal(button) {
    const input = document.getElementById(button.dataset.reveal);
    if (!input) return;
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  }

  /* -- tables: tick boxes, with a head that knows "some" -- */

  function countSelection(box) {
    const rows = [...box.querySelectorAll("input[data-select-row]")];
    const ticked = rows.filter((row) => row.checked).length;
    for (const head of box.querySelectorAll("input[data-select-all]")) {
      head.checked = rows.length > 0 && ticked === rows.length;
      head.indeterminate = ticked > 0 && ticked < rows.length;
    }
    for (const output of box.querySelectorAll("[data-selection-count]")) {
      output.textContent = ticked.toLocaleString(document.documentElement.lang);
    }
  }

  function labelCells(table) {
    // On a phone a row is a card; each value then carries the words of its column.
    const heads = [...table.querySelectorAll("thead tr:last-child > *")].map((head) => head.textContent.trim());
    for (const row of table.querySelectorAll("tbody > tr")) {
      [...row.children].forEach((cell, index) => {
        const plain = index > 0 && heads[index] && cell.colSpan === 1 && !("label" in cell.dataset);
        const bare = cell.matches(".menu-cell, .select-cell");
        const titled = cell.tagName === "TH" || row.children[index - 1]?.classList.contains("select-cell");
        if (plain && !titled && !bare) cell.dataset.label = heads[index];
      });
    }
  }

  /* -- lists and trees that a search box narrows in the page itself -- */

  function narrow(input) {
    const list = document.getElementById(input.dataset.filterList);
    if (!list) return;
    const wanted = input.value.trim().toLocaleLowerCase();
    let found = 0;
    for (const item of list.querySelectorAll("[data-filter-item]")) {
      const text = (item.dataset.filterItem || item.textContent).toLocaleLowerCase();
      item.hidden = !text.includes(wanted);
      if (!item.hidden) found += 1;
    }
    // A branch without a hit goes; while something is searched, the others are open.
    for (const branch of list.querySelectorAll("details")) {
      const holder = branch.closest("li") || branch;
      holder.hidden = !branch.querySelector("[data-filter-item]:not([hidden])");
      if (!("wasOpen" in branch.dataset)) branch.dataset.wasOpen = branch.open ? "1" : "";
      branch.open = wanted ? true : branch.dataset.wasOpen === "1";
    }
    for (const empty of list.querySelectorAll("[data-filter-empty]")) empty.hidden = found > 0;
  }

  /* -- times -- */

  function refreshTimes(root) {
    const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" });
    const steps = [[60, 1, ""], [3600, 60, "minute"], [86400, 3600, "hour"], [2592000, 86400, "day"],
      [31536000, 2592000, "month"], [Infinity, 31536000, "year"]];
    for (const time of root.querySelectorAll("time[data-relative]")) {
      const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
      const [, size, unit] = steps.find(([limit]) => Math.abs(seconds) < limit);
      const text = unit ? relative.format(Math.sign(seconds) * Math.floor(Math.abs(seconds) / size), unit) : words().tNow;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  /* -- menus: the browser opens and closes popovers; here they get their place and the arrow keys -- */

  function placeMenu(menu) {
    const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
    if (!button || !menu.classList.contains("menu")) return;
    menu.classList.add("placed");
    const at = button.getBoundingClientRect();
    const size = menu.getBoundingClientRect();
    const below = at.bottom + 4 + size.height <= innerHeight || at.top < size.height;
    const left = Math.min(Math.max(8, at.right - size.width), innerWidth - size.width - 8);
    menu.style.left = `${left}px`;
    menu.style.top = `${below ? at.bottom + 4 : at.top - size.height - 4}px`;
  }

  function moveInMenu(event) {
    const menu = closest(event, ".menu:popover-open");
    const opener = closest(event, "[popovertarget]");
    if (opener && event.key === "ArrowDown") {
      const target = document.getElementById(opener.getAttribute("popovertarget"));
      if (!target || !target.classList.contains("menu")) return;
      event.preventDefault();
      target.showPopover();
      target.querySelector(".menu-item")?.focus();
      return;
    }
    if (!menu || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
    const items = [...menu.querySelectorAll(".menu-item:not(:disabled)")];
    if (!items.length) return;
    event.preventDefault();
    const here = items.indexOf(document.activeElement);
    const next = { ArrowDown: here + 1, ArrowUp: here < 0 ? -1 : here - 1, Home: 0, End: -1 }[event.key];
    items.at(next % items.length)?.focus();
  }

  /* -- a form is sent once -- */

  function guard(event) {
    const form = event.target;
    const method = (event.submitter?.getAttribute("formmethod") || form.method || "get").toLowerCase();
    if (event.defaultPrevented || method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    // Disabled in the next task: a button that is disabled now would not be sent with the form.
    setTimeout(() => {
      const button = event.submitter;
      if (!button?.classList.contains("button")) return;
      button.setAttribute("aria-busy", "true");
      button.dataset.guarded = "";
    });
  }

  function release(root) {
    for (const form of root.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    if (root instanceof HTMLFormElement) delete root.dataset.sent;
    for (const button of document.querySelectorAll(".button[data-guarded]")) {
      button.removeAttribute("aria-busy");
      delete button.dataset.guarded;
    }
  }

  /* -- listening -- */

  document.addEventListener("click", (event) => {
    let hit;
    if (closest(event, "[data-theme-toggle]")) toggleTheme();
    else if ((hit = closest(event, "[data-copy]"))) copy(hit.dataset.copy);
    else if ((hit = closest(event, "[data-copy-block]"))) copy(hit.closest(".code").querySelector("pre").textContent);
    else if ((hit = closest(event, "[data-reveal]"))) reveal(hit);
    else if ((hit = closest(event, "[data-toast-close]"))) hit.closest("[data-toast]").remove();
    else if ((hit = closest(event, "[data-dialog-close]"))) hit.closest("dialog").close();
    else if ((hit = closest(event, "[data-select-none]"))) {
      const box = hit.closest("[data-selectable]");
      for (const row of box.querySelectorAll("input[data-select-row]:checked")) row.click();
    } else if ((hit = closest(event, "[data-dialog]"))) {
      const dialog = document.getElementById(hit.dataset.dialog);
      if (!dialog || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      hit.closest("[popover]")?.hidePopover();
      dialog.showModal();
    } else if (event.target instanceof HTMLDialogElement) {
      // A press on the backdrop has the dialog itself as its target, outside its box.
      const box = event.target.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right
        && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside && (event.clientX || event.clientY)) event.target.close();
    }
  });

  document.addEventListener("change", (event) => {
    const box = closest(event, "[data-selectable]");
    if (box && event.target.matches("[data-select-all]")) {
      const all = event.target.checked;
      for (const row of box.querySelectorAll("input[data-select-row]:not(:disabled)")) {
        // Click, so that whoever listens to a row's change hears it; the head itself changes meanwhile.
        if (row.checked !== all) row.click();
      }
    }
    if (box) countSelection(box);
    // <select data-submit> sends its form at once; its form keeps a button for those without JavaScript.
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-filter-list]")) narrow(event.target);
  });
  document.addEventListener("keydown", (event) => {
    // Enter in such a box narrows; it must not send the form around it.
    if (event.key === "Enter" && event.target.matches?.("[data-filter-list]")) event.preventDefault();
  });
  document.addEventListener("toggle", (event) => {
    if (event.target instanceof Element && event.target.matches("[popover].menu") && event.newState === "open") {
      placeMenu(event.target);
    }
  }, true);
  addEventListener("resize", () => {
    for (const menu of document.querySelectorAll(".menu:popover-open")) placeMenu(menu);
  });
  document.addEventListener("keydown", moveInMenu);
  document.addEventListener("submit", guard);
  addEventListener("pageshow", (event) => {
    release(document);
    if (event.persisted) for (const open of document.querySelectorAll("dialog[open]")) open.close();
  });

  /* -- HTMX -- */

  let waiting = 0;
  const bar = () => document.getElementById("loading-bar");

  document.addEventListener("htmx:beforeRequest", () => {
    waiting += 1;
    bar()?.classList.add("on");
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    waiting = Math.max(0, waiting - 1);
    if (!waiting) bar()?.classList.remove("on");
    const source = event.detail.elt;
    release(source.closest?.("form") || document);
  });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    toast(status === 401 ? words().tSignedOut : status === 403 ? words().tRefused : words().tFailed, "error");
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => toast(words().tOffline, "error"));
  }
  // The browser's part of passkeys (allauth's) failed, or was cancelled.
  document.addEventListener("allauth.error", (event) => {
    const nameless = event.detail.exception?.name === "SecurityError";
    toast(nameless ? words().tPasskeyHost : words().tPasskey, "error");
  });
  // A response may say HX-Trigger: {"toast": {"text": "…", "variant": "success"}}.
  document.addEventListener("toast", (event) => toast(event.detail.text || event.detail.value, event.detail.variant));
  // A dialog that HTMX has filled with a question opens; once it closes, the focus is back at who asked, or at what has
  // taken its place meanwhile.
  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = event.detail.target;
    if (!(dialog instanceof HTMLDialogElement) || dialog.open) return;
    const asked = event.detail.requestConfig?.elt?.id;
    dialog.addEventListener("close", () => document.getElementById(asked)?.focus(), { once: true });
    dialog.showModal();
  });
  // What is typed while an answer is on its way stays: the field that has the focus keeps its text when it is replaced,
  // and says once more that it was changed.
  let typed = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const field = document.activeElement;
    const sent = event.detail.requestConfig?.formData;
    const since = field?.id && field.matches("input, textarea") && sent?.has(field.name)
      && sent.get(field.name) !== field.value;
    typed = since ? { id: field.id, value: field.value, at: field.selectionStart } : null;
  });
  document.addEventListener("htmx:afterSwap", () => {
    const field = typed && document.getElementById(typed.id);
    if (field && field.value !== typed.value) {
      field.value = typed.value;
      if (typed.at !== null) field.setSelectionRange(typed.at, typed.at);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    typed = null;
  });
  document.addEventListener("htmx:afterSettle", (event) => prepare(event.detail.elt));

  function prepare(root) {
    if (!(root instanceof Element) || !root.isConnected) root = document.body;
    // What was swapped may be the inside of a selectable list or of a table.
    const within = (selector) => {
      const outer = root.closest(selector);
      return outer ? [outer, ...root.querySelectorAll(selector)] : [...root.querySelectorAll(selector)];
    };
    // The search form stands outside the list it filters: a sort chosen since is in the address, and stays.
    const query = new URLSearchParams(location.search);
    for (const kept of document.querySelectorAll("form.filter-bar input[type=hidden]")) {
      if (query.has(kept.name)) kept.value = query.get(kept.name);
    }
    within("[data-selectable]").forEach(countSelection);
    within(".table").forEach(labelCells);
    refreshTimes(root);
    for (const box of root.querySelectorAll("[data-toast]:not([data-timed])")) {
      box.dataset.timed = "";
      expire(box);
    }
    const summary = root.matches("[data-error-summary]") ? root : root.querySelector("[data-error-summary]");
    if (summary) {
      summary.focus();
      summary.scrollIntoView({ block: "center" });
    }
  }

  prepare(document.body);
  setInterval(() => refreshTimes(document.body), 30000);
})();
