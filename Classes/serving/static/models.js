// The models of the server, and the one that images are sent to.

import { byId, element } from "./dom.js";
import { language, t } from "./translation.js";

// The choice survives a reload of the tab.
const CHOSEN = "chosen.model";

// Entries of /v1/models that requests can use; `chosen` is undefined if the list could not be read.
export const models = { list: [], chosen: undefined, default: null };

export async function loadModels() {
  const response = await fetch("v1/models");
  if (!response.ok) return;
  const body = await response.json();
  models.list = body.models.filter((model) => model.available);
  models.default = body.default;
  const wanted = [new URLSearchParams(location.search).get("model"), sessionStorage.getItem(CHOSEN), body.default];
  models.chosen = wanted.map(find).find(Boolean) ?? models.list[0];
}

function find(name) {
  return models.list.find((model) => model.name === name);
}

export function chooseModel(name) {
  models.chosen = find(name) ?? models.chosen;
  try {
    sessionStorage.setItem(CHOSEN, models.chosen.name);
  } catch {
    // The storage is switched off; a reload goes back to the default.
  }
}

// The address of an endpoint with the chosen model.
export function withModel(address) {
  const name = models.chosen?.name;
  return !name || name === models.default ? address : `${address}?${new URLSearchParams({ model: name })}`;
}

// The model of a result, for its words.
export function modelOf(result) {
  return find(result?.model_name) ?? models.chosen;
}

// Whether a model says more than disease or not: several classes on a side, or no disease at all.
export function hasTypes(model = models.chosen) {
  return Boolean(model && (!model.detects || model.classes.length > 2));
}

export function hasGroups(model = models.chosen) {
  return Boolean(model && model.classes.some((name) => groupOf(name, model) !== name));
}

// What a model detects, in words: `field` is "short", "long", "affected_cells" or "normal_cells"; "" if it detects nothing.
export function conditionText(field, model = models.chosen) {
  const condition = model?.condition;
  return condition ? (condition.translations?.[language]?.[field] ?? t(condition[field])) : "";
}

// The short name, for {condition} in texts.
export function conditionOf(model = models.chosen) {
  return { condition: conditionText("short", model) };
}

// Names that come from the server, so that they are translated: the known conditions and the types of white cells.
export const KNOWN_NAMES = () => [
  t("ALL"), t("AML"), t("Acute Lymphoblastic Leukemia"), t("Acute Myeloid Leukemia"),
  t("leukemic cells"), t("abnormal cells"), t("healthy cells"),
  t("basophil"), t("eosinophil"), t("erythroblast"), t("lymphocyte"), t("monocyte"), t("neutrophil"), t("band neutrophil"),
  t("segmented neutrophil"), t("immature granulocyte"), t("promyelocyte"), t("myelocyte"), t("metamyelocyte"), t("platelet"),
];

// What people read in place of a class: its title, if its name is an abbreviation.
export function classTitle(name, model = models.chosen) {
  return t(model?.class_titles[name] ?? name);
}

export function groupOf(name, model = models.chosen) {
  for (const [group, classes] of Object.entries(model?.groups ?? {})) if (classes.includes(name)) return group;
  return name;
}

// [{group, classes}] in the order of the first class of each group.
export function groupsOf(model = models.chosen) {
  const names = [...new Set((model?.classes ?? []).map((name) => groupOf(name, model)))];
  return names.map((group) => ({ group, classes: model.classes.filter((name) => groupOf(name, model) === group) }));
}

// What a group has as its name: of a group of one class, the title of the class.
export function groupTitle(group, model = models.chosen) {
  return classTitle(group, model);
}

export function purpose(model) {
  return model.detects ? t("signs of {condition}", conditionOf(model)) : t("types of white cells");
}

// The heading of the page and of the printed report; with the field "short", the title of the tab.
export function pageTitle(model = models.chosen, field = "long") {
  return model?.detects === null ? t("Types of white blood cells") : t("{condition} detection", { condition: conditionText(field, model) });
}

// The menu of models; hidden if there is only one.
export function showModels(onChoose) {
  const menu = byId("choice");
  const options = models.list.map((model) => element("option", `${model.name}: ${purpose(model)}`, { value: model.name }));
  menu.replaceChildren(...options);
  menu.value = models.chosen?.name ?? "";
  byId("model-field").hidden = models.list.length < 2;
  menu.addEventListener("change", () => onChoose(menu.value));
}
