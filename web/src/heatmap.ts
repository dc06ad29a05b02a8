// A heatmap as the service sends it: transparent where nothing speaks for the finding.
const SIDE = 64; // enough: a map of a few places across does not change faster

// null: it is transparent everywhere.
export async function heatmapOf(png: Blob): Promise<ImageBitmap | null> {
  const picture = await createImageBitmap(png);
  const context = new OffscreenCanvas(SIDE, SIDE).getContext("2d");
  if (!context) return picture;
  context.drawImage(picture, 0, 0, SIDE, SIDE);
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return data.some((value, at) => at % 4 === 3 && value > 0) ? picture : null;
}
