// What a person should know about the chosen model before the first image: its types, and what it has never seen.

import { byId, element } from "./dom.js";
import { classTitle, conditionOf, conditionText, groupsOf, groupTitle, models, pageTitle } from "./models.js";
import { formatNumber, t, tn } from "./translation.js";

// Sentences of the card of the shipped model, so that they are translated.
export const KNOWN_LIMITS = () => [
  t("It has never seen a leukemic cell. It gives a blast the most similar normal type, so it cannot detect leukemia."),
  t("It has never seen another stain, another scanner or another laboratory, bone marrow, or a cell that is not one of its types, such as a platelet, a plasma cell or a smudge cell."),
  t("All images are from one laboratory, and their patients are not known, so images of one patient can be in training and in the test. The metrics of another laboratory will be lower."),
  t("An image must show one cell in its middle, about as large as in the training images."),
  t("Neighboring stages of maturation (promyelocyte, myelocyte, metamyelocyte, band, segmented) pass into each other, and experts disagree on them too."),
];

export function showModelNotes() {
  const model = models.chosen;
  showMissingDefault(model);
  showLimits(model);
  byId("intro-outcomes").hidden = model?.detects === null;
  byId("intro-types").hidden = model?.detects !== null;
  if (model?.detects === null) showTypes(model);
  else if (model) showCondition(model);
  if (!model) return;
  document.querySelector("h1").textContent = pageTitle(model);
  document.title = pageTitle(model, "short");
}

function showCondition(model) {
  const values = conditionOf(model);
  for (const id of ["intro-positive", "label-positive"]) byId(id).textContent = t("Signs of {condition}", values);
  for (const id of ["intro-negative", "label-negative"]) byId(id).textContent = t("No signs of {condition}", values);
  const cells = (field) => t("The cell looks like the {cells} that the model was trained on.", { cells: conditionText(field, model) });
  byId("affected").textContent = cells("affected_cells");
  byId("normal").textContent = cells("normal_cells");
  byId("order-probability").textContent = t("Highest probability of {condition} first", values);
}

// The own model is not trained yet, and the page uses another one.
function showMissingDefault(model) {
  const missing = Boolean(model) && models.default === null;
  byId("no-default").hidden = !missing;
  if (missing) byId("no-default").textContent = t("There is no trained model for this laboratory yet. This page uses the model {name}.", { name: model.name });
}

function showLimits(model) {
  const [first, ...others] = model?.synthetic ? [] : (model?.limits ?? []);
  byId("limits").hidden = !first;
  if (!first) return;
  byId("first-limit").textContent = t(first);
  byId("other-limits").replaceChildren(...others.map((text) => element("li", t(text))), ...metricLines(model));
  byId("more-limits").hidden = byId("other-limits").children.length === 0;
}

function metricLines({ metrics }) {
  const value = metrics?.macro_f1 ?? metrics?.accuracy;
  if (typeof value?.value !== "number" || !value.interval) return [];
  const values = {
    value: formatNumber(value.value, 3),
    low: formatNumber(value.interval[0], 3),
    high: formatNumber(value.interval[1], 3),
    images: formatNumber(metrics.images),
  };
  const text = metrics.macro_f1
    ? t("Measured on {images} images that it had never seen: macro-F1 {value} (95 % interval {low} to {high}).", values)
    : t("Measured on {images} images that it had never seen: accuracy {value} (95 % interval {low} to {high}).", values);
  return [element("li", text)];
}

function showTypes(model) {
  byId("intro-types-title").textContent = tn("It names {n} type of cells", "It names {n} types of cells", model.classes.length);
  const rows = groupsOf(model).map(({ group, classes }) => {
    const titles = classes.map((name) => classTitle(name, model)).join(", ");
    const content = classes.length > 1 ? [element("strong", groupTitle(group, model)), ` ${titles}`] : element("strong", titles);
    return element("li", content);
  });
  byId("types").replaceChildren(...rows);
}
