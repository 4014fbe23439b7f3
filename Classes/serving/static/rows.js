// The table of images: one row per image, laid out as a gallery or as a list by style.css.

import { requestVisibleHeatMaps } from "./classify.js";
import { byId, element } from "./dom.js";
import { FAILED, NEGATIVE, outcomeOf, POSITIVE, REVIEW, TYPED } from "./images.js";
import { hasTypes, modelOf } from "./models.js";
import { formatPercent, groupText, leaningText, positiveProbability, reasonsText, resultText, typeText } from "./results.js";
import { requestVisibleThumbnails } from "./thumbnails.js";
import { language, t } from "./translation.js";

// What a person should look at comes first, images without a result last.
const RANK = [REVIEW, FAILED, POSITIVE, NEGATIVE, TYPED, ""];
const collator = new Intl.Collator(language, { numeric: true });

const imageOfRow = new WeakMap();
const rows = byId("rows");

// The row that the Tab key reaches; the arrow keys move it.
let current;
let open = () => {};

export function onOpen(listener) {
  open = listener;
}

// Order and selection

function compare(order) {
  const certainty = (image) => image.result?.confidence ?? 2;
  const likely = (image) => (image.result ? -(positiveProbability(image.result) ?? 0) : 2);
  const type = (image) => (image.result ? typeText(image.result) : "\uffff");
  const by = {
    review: (one, other) => RANK.indexOf(outcomeOf(one)) - RANK.indexOf(outcomeOf(other)),
    type: (one, other) => collator.compare(type(one), type(other)),
    name: (one, other) => collator.compare(one.name, other.name),
    confidence: (one, other) => certainty(one) - certainty(other),
    probability: (one, other) => likely(one) - likely(other),
    added: () => 0,
  };
  return (one, other) => by[order](one, other) || one.number - other.number;
}

// `isSelected` tells which images of the filtered ones are wanted.
export function selectImages(images, filter, order, isSelected) {
  const wanted = (image) => (filter === "all" || outcomeOf(image) === filter) && isSelected(image);
  return images.filter(wanted).sort(compare(order));
}

// Shows these rows in this order, and moves as few of them as possible.
export function showRows(images) {
  const focused = rows.contains(document.activeElement) ? document.activeElement : undefined;
  let place = rows.firstChild;
  for (const { row } of images) {
    if (row === place) {
      place = place.nextSibling;
    } else if (place && row === place.nextSibling) {
      // One row left its place for a later one; it is inserted there when its turn comes.
      const leaving = place;
      place = row.nextSibling;
      leaving.remove();
    } else {
      rows.insertBefore(row, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  // A row that was moved has lost the focus.
  if (focused?.isConnected) focused.focus({ preventScroll: true });
  else makeCurrent(rows.firstChild);
}

// Rendering

const visibility = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const image = imageOfRow.get(target);
      image.visible = isIntersecting;
    }
    requestVisibleThumbnails();
    requestVisibleHeatMaps();
  },
  { rootMargin: "50%" },
);

function cell(kind, name = "td") {
  const made = element(name, "", { className: kind });
  made.setAttribute("role", name === "th" ? "rowheader" : "cell");
  if (name === "th") made.scope = "row";
  return made;
}

function createCells(image) {
  const { row } = image;
  imageOfRow.set(row, image);
  row.setAttribute("role", "row");
  const open_ = element("button", "", { type: "button", tabIndex: -1 });
  const cells = {
    picture: cell("picture"), name: cell("name", "th"), result: cell("result"), confidence: cell("confidence"), map: cell("map"),
  };
  cells.picture.append(open_);
  cells.name.append(element("span", image.name.split("/").at(-1), { title: image.name }));
  row.append(...Object.values(cells));
  visibility.observe(row);
  return { ...cells, open: open_ };
}

export function renderRow(image) {
  const cells = (image.cells ??= createCells(image));
  const outcome = outcomeOf(image);
  image.row.className = outcome || image.state;
  const words = outcome ? resultText(image, outcome) : t("Waiting");
  const values = { name: image.name, result: words };
  const label = hasPicture(image) ? t("{name}: {result}. Open.", values) : t("{name}: {result}. No preview. Open.", values);
  cells.open.setAttribute("aria-label", label);
  renderPicture(image, cells);
  cells.result.replaceChildren(...resultParts(image, outcome));
  cells.confidence.replaceChildren(...(image.result ? confidenceParts(image.result) : []));
  renderMap(image, cells);
}

// Whether the image is shown, or will be.
function hasPicture(image) {
  return Boolean(image.thumbnail || (image.file && !image.noPreview));
}

function renderPicture(image, { open: button }) {
  const shown = button.firstElementChild;
  if (image.thumbnail) {
    if (shown?.src === image.thumbnail) return;
    button.replaceChildren(element("img", "", { src: image.thumbnail, alt: "", decoding: "async" }));
  } else if (!hasPicture(image)) {
    if (!shown) button.replaceChildren(element("span", t("No preview"), { className: "help" }));
  }
}

function resultParts(image, outcome) {
  const label = element("strong", outcome ? resultText(image, outcome) : waitingText(image), { className: "outcome" });
  if (outcome === REVIEW) {
    return [
      label,
      element("span", leaningText(image.result), { className: "leaning" }),
      element("span", reasonsText(image.result), { className: "detail" }),
    ];
  }
  const text = image.text || (image.result ? typeDetail(image.result, outcome) : image.code);
  return text ? [label, element("span", text, { className: "detail" })] : [label];
}

// The class beside disease or not, or the group beside the class; "" if there is no more to say.
function typeDetail(result, outcome) {
  if (outcome === TYPED) return groupText(result) ?? "";
  // Without its probability, which could be taken for the confidence of the result.
  return hasTypes(modelOf(result)) ? typeText(result) : "";
}

function waitingText(image) {
  return image.state === "sending" ? t("Sending…") : t("Waiting");
}

function confidenceParts(result) {
  const percent = formatPercent(result.confidence);
  const meter = element("meter", percent, { min: 0, max: 1, value: result.confidence });
  meter.setAttribute("aria-label", t("Confidence"));
  return [element("span", percent, { className: "percent" }), meter];
}

function renderMap(image, { map }) {
  if (!image.heatMap) {
    map.replaceChildren(...(image.heatMapError ? [element("span", image.heatMapError, { className: "help" })] : []));
  } else if (map.querySelector("img")?.src !== image.heatMap) {
    // The picture's button does the same for the keyboard.
    const button = element("button", element("img", "", { src: image.heatMap, alt: "" }), { type: "button", tabIndex: -1 });
    button.setAttribute("aria-label", t("Heat map of {name}. Open.", { name: image.name }));
    map.replaceChildren(button);
  }
}

export function forgetRow(image) {
  visibility.unobserve(image.row);
}

// Mouse and keyboard

rows.addEventListener("click", (event) => {
  const row = event.target.closest("button")?.closest("tr");
  if (!row) return;
  makeCurrent(row);
  open(imageOfRow.get(row), Boolean(event.target.closest(".map")));
});

rows.addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  const columns = getComputedStyle(rows).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const list = [...rows.children];
  const index = list.indexOf(row);
  let target = { Home: 0, End: list.length - 1 }[event.key];
  if (event.key in steps) target = index + steps[event.key];
  if (target === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  focusRow(list[target]);
});

function makeCurrent(row) {
  current?.querySelector(".picture button")?.setAttribute("tabindex", "-1");
  row?.querySelector(".picture button")?.setAttribute("tabindex", "0");
  current = row;
}

function focusRow(row) {
  if (!row) return;
  makeCurrent(row);
  row.querySelector(".picture button").focus();
}

export function focusImage(image) {
  if (image.row.isConnected) focusRow(image.row);
}
