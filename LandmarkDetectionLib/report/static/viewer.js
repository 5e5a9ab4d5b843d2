"use strict";
/* Shows CASE, which the script of a case has set, with NiiVue: slices and 3D, landmarks as balls. */

const COLOURS = { truth: [86, 180, 233], detection: [230, 159, 0] };

function decoded(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

function balls(points, size) {
  return {
    name: "landmarks",
    nodeColormap: "landmarks",
    nodeColormapNegative: "",
    nodeMinColor: 0,
    nodeMaxColor: 1,
    nodeScale: 1,
    edgeColormap: "landmarks",
    edgeColormapNegative: "",
    edgeMin: 2,
    edgeMax: 3,
    edgeScale: 0,
    showLegend: false,
    nodes: points.map(({ name, kind, ras }) => ({
      name, x: ras[0], y: ras[1], z: ras[2], colorValue: kind === "truth" ? 0.001 : 1, sizeValue: size,
    })),
    edges: [],
  };
}

function goTo(viewer, name, ras) {
  viewer.document.labels = [];
  viewer.addLabel(name, { textColor: [1, 1, 1, 1], lineWidth: 2, lineColor: [1, 1, 1, 1] }, ras);
  viewer.scene.crosshairPos = viewer.mm2frac(ras);
  viewer.drawScene();
}

function addButtons(viewer, points, list, status) {
  for (const { name, kind, text, ras } of points) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = kind;
    button.textContent = text ? `${name}, ${text}` : name;
    button.addEventListener("click", () => {
      goTo(viewer, name, ras);
      status.textContent = button.textContent;
    });
    const item = document.createElement("li");
    item.append(button);
    list.append(item);
  }
}

async function show() {
  const canvas = document.getElementById("viewer");
  const status = document.getElementById("viewer-status");
  const list = document.getElementById("viewer-landmarks");
  try {
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.9, 0.9, 0.9, 0.5],
      crosshairWidth: 0.4,
      meshXRay: 0.7,
      isOrientationTextVisible: false,
      multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      multiplanarShowRender: niivue.SHOW_RENDER ? niivue.SHOW_RENDER.ALWAYS : 1,
      meshThicknessOn2D: 0.04 * CASE.size_mm,
      dragAndDropEnabled: false,
      logLevel: "error",
    });
    await viewer.attachToCanvas(canvas);
    await viewer.loadFromArrayBuffer(decoded(CASE.scan), "scan.nii.gz");
    const [truth, detection] = [COLOURS.truth, COLOURS.detection];
    viewer.addColormap("landmarks", {
      R: [truth[0], detection[0]],
      G: [truth[1], detection[1]],
      B: [truth[2], detection[2]],
      A: [255, 255],
      I: [0, 255],
    });
    viewer.loadConnectome(balls(CASE.points, 0.01 * CASE.size_mm));
    addButtons(viewer, CASE.points, list, status);
    goTo(viewer, CASE.points[0].name, CASE.points[0].ras);
    status.textContent = `${CASE.points.length} landmarks; voxels of ${CASE.voxel_mm} mm.`;
    canvas.dataset.state = "drawn";
  } catch (error) {
    canvas.hidden = true;
    status.textContent = `The viewer cannot draw here (${error.message}); it needs a browser with WebGL 2.`;
    canvas.dataset.state = "failed";
  }
}

document.addEventListener("DOMContentLoaded", show);
