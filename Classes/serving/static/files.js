// Images from the file dialogs, from dropped files and folders, and from the server's examples.

import { byId } from "./dom.js";
import { loadExamples, server } from "./server.js";

// Endings of the formats that the server reads.
const EXTENSIONS = { JPEG: ["jpg", "jpeg", "jpe", "jfif"], TIFF: ["tif", "tiff"], PPM: ["ppm", "pgm", "pbm", "pnm"] };

// `onFiles(files, skipped)` receives [{file, name}] and the names of the files that are not images.
export function listenForFiles(onFiles) {
  const add = (found) => onFiles(...separateImages(found));
  for (const id of ["files", "folder"]) {
    byId(id).addEventListener("change", (event) => {
      add([...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
      // Otherwise the same files could not be selected again.
      event.target.value = "";
    });
  }
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    // On the whole page, because a browser opens a file dropped elsewhere, and all results would be lost.
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", name === "dragenter" || name === "dragover");
      if (name === "drop") droppedFiles(event.dataTransfer).then(add);
    });
  }
}

// Returns [{file, name}] of all files that were dropped, also of those in folders and their sub-folders.
async function droppedFiles(transfer) {
  // Synchronously, because the browser clears the list when the event ends.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const found = [];
  for (const { entry, file } of entries) {
    if (entry?.isDirectory) await readFolder(entry, found);
    else if (file) found.push({ file, name: file.name });
  }
  return found;
}

async function readFolder(folder, found) {
  const reader = folder.createReader();
  // An unreadable folder is left out; each call returns at most a hundred entries.
  const readSome = () => new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
  for (let some = await readSome(); some.length; some = await readSome()) {
    for (const entry of some.sort((one, other) => one.name.localeCompare(other.name))) {
      if (entry.isDirectory) {
        await readFolder(entry, found);
      } else {
        const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
        if (file) found.push({ file, name: entry.fullPath.replace(/^\//, "") });
      }
    }
  }
}

// The server recognizes images by their content, so a name without an ending may be one.
function separateImages(found) {
  const formats = server.info?.formats ?? ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"];
  const known = new Set(formats.flatMap((format) => EXTENSIONS[format] ?? [format.toLowerCase()]));
  const isImage = ({ name }) => {
    const base = name.split("/").at(-1);
    return base.includes(".") ? known.has(base.split(".").at(-1).toLowerCase()) && !base.startsWith(".") : true;
  };
  return [found.filter(isImage), found.filter((each) => !isImage(each)).map((each) => each.name)];
}

// Returns [{file, name}] of the example images.
export async function fetchExamples() {
  const examples = await loadExamples();
  return Promise.all(
    examples.map(async ({ name, url }) => {
      const content = await (await fetch(url)).blob();
      return { file: new File([content], name, { type: content.type, lastModified: 0 }), name };
    }),
  );
}
