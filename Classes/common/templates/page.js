"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // Pictures enlarge when they are pressed; without this script they are plain pictures.
  const dialog = byId("larger");
  for (const picture of document.querySelectorAll("[data-zoom]")) {
    const name = picture.getAttribute("alt") || picture.getAttribute("aria-label") || "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.setAttribute("aria-label", dialog.dataset.open.replace("{name}", name));
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => {
      const copy = picture.cloneNode(true);
      copy.removeAttribute("width");
      copy.removeAttribute("height");
      byId("larger-picture").replaceChildren(copy);
      byId("larger-caption").textContent = name;
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => byId("larger-picture").replaceChildren());

  // Commands are copied to the clipboard.
  const status = byId("copied");
  let hide;
  const say = (text) => {
    status.textContent = text;
    clearTimeout(hide);
    hide = setTimeout(() => { status.textContent = ""; }, 6000);
  };
  const copyBySelection = (element) => {
    // navigator.clipboard exists only on https, on this machine and in files.
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  };
  for (const button of document.querySelectorAll(".copy")) {
    const command = byId(button.dataset.for);
    button.hidden = false;
    button.addEventListener("click", async () => {
      let done = false;
      try {
        await navigator.clipboard.writeText(command.textContent);
        done = true;
      } catch {
        done = copyBySelection(command);
      }
      say(done ? status.dataset.copied : status.dataset.failed);
    });
  }

  // The threshold slider: counts and intervals of every threshold are in the page.
  const tool = byId("threshold-tool");
  if (tool) {
    const { points, deployed } = JSON.parse(byId("threshold-points").textContent);
    const slider = byId("threshold");
    const language = document.documentElement.lang;
    const one = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    const number = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 3 });
    const percent = (value) => `${one.format(100 * value)} %`;
    const share = ([hits, all, low, high]) => {
      if (!all) return ["–", "–", "0"];
      const interval = low === null ? "–" : `${percent(low)} – ${percent(high)}`;
      return [percent(hits / all), interval, `${hits} / ${all}`];
    };
    const show = () => {
      const [threshold, ...metrics] = points[slider.value];
      byId("threshold-value").textContent = number.format(threshold);
      slider.setAttribute("aria-valuetext", number.format(threshold));
      metrics.forEach((metric, row) => {
        const cells = tool.querySelectorAll(`tbody tr:nth-child(${row + 1}) td`);
        share(metric).forEach((text, column) => { cells[column].textContent = text; });
      });
    };
    slider.max = points.length - 1;
    slider.value = deployed;
    slider.addEventListener("input", show);
    byId("threshold-reset").addEventListener("click", () => { slider.value = deployed; show(); });
    show();
    tool.hidden = false;
  }

  // On a narrow screen, the contents start closed.
  const contents = document.querySelector("nav details");
  if (contents && matchMedia("(max-width: 40rem)").matches) contents.open = false;
  document.body.classList.add("ready");
})();
