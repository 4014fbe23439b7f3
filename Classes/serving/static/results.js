// Results in words.

import { NEGATIVE, FAILED, POSITIVE, REVIEW, TYPED } from "./images.js";
import { classTitle, conditionOf, groupOf, groupTitle, modelOf } from "./models.js";
import { server } from "./server.js";
import { formatNumber, t } from "./translation.js";

export function outcomeText(outcome, model) {
  const condition = conditionOf(model);
  const texts = {
    [REVIEW]: t("Needs review"),
    [POSITIVE]: t("Signs of {condition}", condition),
    [NEGATIVE]: t("No signs of {condition}", condition),
    [TYPED]: t("Type of cell"),
    [FAILED]: t("Failed"),
  };
  return texts[outcome] ?? outcome;
}

// The result in words: the outcome, or the type of the cell if the model detects nothing and the cell needs no review.
export function resultText(image, outcome) {
  return outcome === TYPED ? typeText(image.result) : outcomeText(outcome, modelOf(image.result));
}

// The predicted class as people read it.
export function typeText(result) {
  return classTitle(result.class, modelOf(result));
}

// Its group, or undefined if the class is a group of its own.
export function groupText(result) {
  const model = modelOf(result);
  const group = groupOf(result.class, model);
  return model?.groups[group]?.length > 1 ? groupTitle(group, model) : undefined;
}

// The codes are those of Classes/common/outcome.py. A code that this page does not know is shown unchanged.
export function reasonText(code, model) {
  const texts = {
    empty: t("The image shows no cell."),
    not_a_photograph: t("The image does not look like a photograph of a stained smear."),
    no_stained_nucleus: t("There is no stained nucleus in the middle of the image."),
    not_one_cell: t("The image does not show one single cell, but several cells, a whole field or tissue."),
    off_center: t("The cell is not in the middle of the image."),
    out_of_focus: t("The image is out of focus."),
    unlike_training: t("The image looks different from the training images."),
    uncertain: t("The probability of {condition} is in the uncertain range of the model.", conditionOf(model)),
    low_confidence: t("The confidence is low."),
  };
  return texts[code] ?? code;
}

export function reasonsText(result) {
  return result.reasons.map((code) => reasonText(code, modelOf(result))).join(" ");
}

// Which way the model leans if a person should decide.
export function leaningText(result) {
  if (result.detected === null) {
    return t("{type} {percent}", { type: typeText(result), percent: formatPercent(result.class_confidence) });
  }
  const percent = formatPercent(result.confidence);
  const values = { percent, ...conditionOf(modelOf(result)) };
  return result.detected ? t("leaning to {condition}, {percent}", values) : t("leaning to no {condition}, {percent}", values);
}

// One digit; a probability is never shown as 100 %, but a proportion (`isExact`) can be.
export function formatPercent(fraction, isExact = false) {
  return fraction > 0.9995 && !isExact ? `> ${formatNumber(99.9, 1)} %` : `${formatNumber(100 * fraction, 1)} %`;
}

// Undefined if the model detects nothing.
export function positiveProbability(result) {
  return result.positive_probability ?? undefined;
}

// What a person can do about an error of the API; for other codes the server's own message.
export function errorText(code, message) {
  const texts = {
    unauthorized: t("Enter a valid API key above, then press Retry."),
    not_an_image: t("Not a readable image. Supported: {formats}.", { formats: server.info?.formats.join(", ") ?? "" }),
    damaged_image: t("The image file is damaged or incomplete."),
    empty: t("The file is empty."),
    no_content: t("The image has no content: all its pixels are the same."),
    image_too_large: t("The image has too many pixels for this server."),
    body_too_large: t("The file is too large for this server."),
    several_pages: t("The file has several pages. Save the page with the cell as a file of its own."),
    unsupported_image: t(
      "This variant of the image format is not supported. Save the image as RGB with 8 bits per channel.",
    ),
    unknown_bit_depth: t("The file does not state the camera's bit depth. Save the image with 8 bits per channel."),
    no_answer: t("The server is not responding."),
    not_ready: t("The server is starting or stopping, or its device fails."),
    engine_failed: t("The server's device failed."),
    deadline: t("The server did not finish in time."),
    request_timeout: t("The image did not arrive in time."),
    internal_error: t("There is a fault in the server. Its log has the details."),
    busy: t("The server is busy."),
    too_many_requests: t("The server's rate limit is reached."),
    unreadable_file: t(
      "This file can't be read. If it is a folder, drop the folder again or choose the images in it.",
    ),
    reloaded: t("Not finished before the page was reloaded. Add the file again."),
  };
  return texts[code] ?? message;
}
