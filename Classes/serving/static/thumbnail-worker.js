// Makes small pictures of large images, so that the page stays fast and small in memory.

// One canvas for all, because the memory of each would be freed only later.
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { alpha: false });

// `crops`: squares {x, y, side} around points of the image; each becomes a picture of its own.
self.addEventListener("message", async ({ data: { key, file, side, crops = [] } }) => {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
    const blob = await picture([bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale))), (size) =>
      context.drawImage(bitmap, 0, 0, ...size),
    );
    const cells = [];
    for (const crop of crops) {
      cells.push(await picture([side, side], (size) =>
        context.drawImage(bitmap, crop.x - crop.side / 2, crop.y - crop.side / 2, crop.side, crop.side, 0, 0, ...size),
      ));
    }
    bitmap.close();
    self.postMessage({ key, blob, cells });
  } catch {
    // The server reads more formats than browsers do.
    self.postMessage({ key, blob: null, cells: [] });
  }
});

function picture(size, draw) {
  [canvas.width, canvas.height] = size;
  // Transparent parts become white.
  context.fillStyle = "white";
  context.fillRect(0, 0, ...size);
  context.imageSmoothingQuality = "high";
  draw(size);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}
