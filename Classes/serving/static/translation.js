// Texts of the page in its language: t("{count} of {total} done", { count, total }), tn("{n} image", "{n} images", n).
// `python3 -m tests.support.catalogue` collects them; the server puts their translations into the page.

const { texts = {}, plural } = JSON.parse(document.getElementById("messages")?.textContent || "{}");

export const language = document.documentElement.lang || "en";

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (found, name) => (name in values ? String(values[name]) : found));
}

export function t(text, values = {}) {
  return fill(texts[text] ?? text, values);
}

export function tn(singular, plurals, n, values = {}) {
  const forms = texts[singular];
  const index = Number(plural?.[n < 200 ? n : 100 + (n % 100)]);
  const text = forms?.[index] ?? (n === 1 ? singular : plurals);
  return fill(text, { n: formatNumber(n), ...values });
}

const formats = {};

// A number with the decimal mark of the language.
export function formatNumber(value, digits = 0) {
  // One format per number of digits, because making one takes longer than using it.
  formats[digits] ??= new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return formats[digits].format(value);
}
