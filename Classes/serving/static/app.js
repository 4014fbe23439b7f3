// The page: connects files, list, dialog and report. Each idea has its own module.

import { requestVisibleHeatMaps, retryFailed, sendWaiting } from "./classify.js";
import { isSelected, listenForCounts, resetSelection, showCounts } from "./counts.js";
import { saveCsv } from "./csv.js";
import { byId } from "./dom.js";
import { fetchExamples, listenForFiles } from "./files.js";
import { saveFieldCsv, showFields } from "./fields.js";
import { addImage, changed, images, onChange, OUTCOMES, removeImages, resetImages } from "./images.js";
import { CELLS, FIELDS, listenForMode, mode } from "./mode.js";
import { showModelNotes } from "./model-notes.js";
import { chooseModel, hasTypes, loadModels, models, showModels } from "./models.js";
import { preparePrinting, printReport } from "./report.js";
import { forgetRow, onOpen, renderRow, selectImages, showRows } from "./rows.js";
import { errorText } from "./results.js";
import { loadExamples, loadInfo, server } from "./server.js";
import { forgetOthers, hasUnsavedResults, keepResults, markSaved, reattachFiles, restoreResults } from "./session.js";
import { showNote, updateStatus } from "./status.js";
import { requestVisibleThumbnails } from "./thumbnails.js";
import { tn } from "./translation.js";
import { mapHelp, openViewer, refreshViewer } from "./viewer.js";

// Files that are added at once; more would make the page stop for a moment.
const ADDED_AT_ONCE = 200;

// Rows that are rendered at once, for the same reason.
const RENDERED_AT_ONCE = 60;

// Names of skipped files that are shown.
const SHOWN_NAMES = 3;

let filter = "all";
let shown = [];

const ofKind = (kind) => images.filter((image) => image.kind === kind);

async function addFiles(files, skipped) {
  showNote(skipped.length ? skippedText(skipped) : "");
  const { kind } = mode;
  const fresh = reattachFiles(files, kind);
  images.forEach((image) => changed(image));
  for (let start = 0; start < fresh.length; start += ADDED_AT_ONCE) {
    for (const { file, name } of fresh.slice(start, start + ADDED_AT_ONCE)) {
      addImage({ file, name, kind, size: file.size, modified: file.lastModified });
    }
    sendWaiting();
    await new Promise((resolve) => setTimeout(resolve));
  }
  sendWaiting();
  requestVisibleThumbnails();
}

function skippedText(skipped) {
  const names = skipped.slice(0, SHOWN_NAMES).join(", ") + (skipped.length > SHOWN_NAMES ? ", …" : "");
  return tn("{n} file was skipped because it is not an image: {names}", "{n} files were skipped because they are not images: {names}", skipped.length, { names });
}

onChange((changedImages) => {
  // Results before images that wait.
  changedImages.sort((one, other) => (other.state === "done") - (one.state === "done"));
  const cells = changedImages.filter((image) => image.kind === CELLS);
  for (const image of cells.slice(0, RENDERED_AT_ONCE)) renderRow(image);
  for (const image of cells.slice(RENDERED_AT_ONCE)) changed(image);
  keepResults(changedImages);
  updateStatus(ofKind(mode.kind));
  if (mode.kind === FIELDS) {
    showFields();
    return;
  }
  shown = selectImages(ofKind(CELLS), filter, byId("order").value, isSelected);
  showRows(shown);
  byId("empty").hidden = shown.length > 0 || ofKind(CELLS).length === 0;
  showCounts(ofKind(CELLS));
  refreshViewer(cells);
});

// Controls

for (const name of ["all", ...OUTCOMES]) {
  byId(`filter-${name}`).addEventListener("click", () => showOnly(name));
}
function showOnly(name) {
  filter = name;
  for (const each of ["all", ...OUTCOMES]) byId(`filter-${each}`).setAttribute("aria-pressed", each === name);
  changed();
}
listenForCounts(() => changed());
byId("order").addEventListener("change", () => changed());

for (const view of ["gallery", "list"]) {
  byId(`view-${view}`).addEventListener("click", () => {
    for (const each of ["gallery", "list"]) byId(`view-${each}`).setAttribute("aria-pressed", each === view);
    byId("table").className = view;
  });
}

byId("heat-maps").addEventListener("change", () => {
  document.body.classList.toggle("with-maps", byId("heat-maps").checked);
  byId("maps-help").hidden = !byId("heat-maps").checked;
  requestVisibleHeatMaps();
});
onOpen((image, withHeatMap) => openViewer(shown, image, withHeatMap || byId("heat-maps").checked));
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  retryFailed();
});
byId("again").addEventListener("click", retryFailed);
byId("save").addEventListener("click", () => {
  if (mode.kind === FIELDS) saveFieldCsv();
  else saveCsv(ofKind(CELLS));
  markSaved();
});
byId("print").addEventListener("click", () => printReport().then(markSaved));
byId("clear").addEventListener("click", () => {
  if (hasUnsavedResults()) byId("confirm").showModal();
  else clearList();
});
byId("confirm").addEventListener("close", () => {
  if (byId("confirm").returnValue === "clear") clearList();
});

function clearList() {
  const removed = ofKind(mode.kind);
  removed.forEach(forgetRow);
  removeImages(removed);
  forgetOthers();
  markSaved();
  showNote("");
  byId("files").focus();
}

// Models: the list has the results of one model, so another model classifies its images again.

function changeModel(name) {
  if (ofKind(CELLS).some((image) => image.result) && hasUnsavedResults()) {
    byId("change-model").dataset.name = name;
    byId("change-model").showModal();
  } else {
    useModel(name);
  }
}

function useModel(name) {
  chooseModel(name);
  resetImages(ofKind(CELLS), errorText("reloaded"));
  forgetOthers();
  resetSelection();
  byId("heat-maps").disabled = false;
  byId("choice").value = name;
  applyModel();
  showOnly("all");
  sendWaiting();
}

function applyModel() {
  showModelNotes();
  byId("maps-help").textContent = mapHelp();
  // Their cards have one line more.
  document.body.classList.toggle("types", hasTypes());
  // The order by probability of disease needs one.
  byId("order-probability").hidden = models.chosen?.detects === null;
  byId("order-type").hidden = models.chosen?.detects !== null;
  if (byId("order").selectedOptions[0]?.hidden) byId("order").value = "review";
}

byId("change-model").addEventListener("close", () => {
  if (byId("change-model").returnValue === "change") useModel(byId("change-model").dataset.name);
  else byId("choice").value = models.chosen.name;
});

byId("try-examples").addEventListener("click", async () => {
  byId("try-examples").disabled = true;
  await addFiles(await fetchExamples().catch(() => []), []);
  byId("try-examples").disabled = false;
});

// Start

listenForFiles(addFiles);
listenForMode(() => changed());
preparePrinting(() => shown);
await Promise.all([loadInfo().catch(() => {}), loadModels().catch(() => {})]);
showModels(changeModel);
document.body.classList.toggle("no-key", server.info?.key_required === false);
byId("key-field").hidden = server.info?.key_required === false;
byId("site").textContent = server.info?.site_name ?? "";
const restored = restoreResults();
// The list that is back has the results of one model.
const kept = ofKind(CELLS).find((image) => image.result)?.result.model_name;
if (kept) chooseModel(kept);
byId("choice").value = models.chosen?.name ?? "";
applyModel();
if (restored) {
  showNote(tn("{n} result from before the reload was restored. Add its file again to see the picture.", "{n} results from before the reload were restored. Add the files again to see the pictures.", restored));
}
changed();
loadExamples()
  .then((examples) => {
    byId("examples").hidden = byId("examples-help").hidden = examples.length === 0;
  })
  .catch(() => {});
