// Makes small pictures of large images, so that the page stays fast and small in memory.

// One canvas for all, because the memory of each would be freed only later.
const canvas = new OffscreenCanvas(1, 1);
const context = canvas.getContext("2d", { alpha: false });

self.addEventListener("message", async ({ data: { number, file, side } }) => {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
    const size = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
    [canvas.width, canvas.height] = size;
    // Transparent parts become white.
    context.fillStyle = "white";
    context.fillRect(0, 0, ...size);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, ...size);
    bitmap.close();
    self.postMessage({ number, blob: await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 }) });
  } catch {
    // The server reads more formats than browsers do.
    self.postMessage({ number, blob: null });
  }
});
