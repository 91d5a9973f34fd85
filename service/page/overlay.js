// What is laid over the picture: a heat map of cells, or a mask.

const FOR = [20, 184, 166];
const AGAINST = [244, 63, 94];
const stage = document.getElementById("stage");
const canvas = document.getElementById("overlay");
const legend = document.getElementById("legend");
const LONGER = 640;

function prepare() {
  const shown = document.getElementById("shown");
  const scale = LONGER / Math.max(shown.naturalWidth, shown.naturalHeight);
  canvas.width = Math.round(shown.naturalWidth * scale);
  canvas.height = Math.round(shown.naturalHeight * scale);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  return context;
}

function paint(rows, columns, colour) {
  const small = new OffscreenCanvas(columns, rows);
  const context = small.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      image.data.set(colour(row, column), 4 * (row * columns + column));
    }
  }
  context.putImageData(image, 0, 0);
  return small;
}

/** @param {number[][]} heat above 0 speaks for the text, below 0 against it */
export function showHeat(heat) {
  const most = Math.max(0.5, ...heat.flat().map(Math.abs)); // weaker than half a logit is next to nothing
  const cells = paint(heat.length, heat[0].length, (row, column) => {
    const share = Math.abs(heat[row][column]) / most;
    const colour = heat[row][column] > 0 ? FOR : AGAINST;
    return [...colour, 255 * 0.78 * share ** 1.2];
  });
  const context = prepare();
  context.imageSmoothingQuality = "high";
  context.filter = `blur(${Math.round(canvas.width / heat.length / 4)}px)`;
  context.drawImage(cells, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  stage.classList.add("explained");
  legend.hidden = false;
}

/** @param {ImageBitmap} mask white is inside
 *  @returns {number} the share that is inside */
export function showMask(mask) {
  const context = prepare();
  context.imageSmoothingEnabled = false;
  context.drawImage(mask, 0, 0, canvas.width, canvas.height);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  let within = 0;
  for (let at = 0; at < image.data.length; at += 4) {
    const inside = image.data[at] > 127;
    within += Number(inside);
    image.data.set(inside ? [...FOR, 120] : [0, 0, 0, 130], at);
  }
  context.putImageData(image, 0, 0);
  stage.classList.add("explained");
  legend.hidden = true;
  return (4 * within) / image.data.length;
}

export function hide() {
  if (!stage.classList.contains("explained")) return;
  stage.classList.remove("explained");
  legend.hidden = true;
  stage.dispatchEvent(new Event("overlayhidden"));
}
