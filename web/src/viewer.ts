// The page at /: films are dropped, judged, and looked at.
import { Viewer } from "./viewer/viewer.js";

new Viewer().fill(document.body);
