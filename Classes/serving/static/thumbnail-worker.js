// Makes small pictures of large images, so that the page stays fast and small in memory.

self.addEventListener("message", async ({ data: { number, file, side } }) => {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
    const size = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
    const canvas = new OffscreenCanvas(...size);
    const context = canvas.getContext("2d", { alpha: false });
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
