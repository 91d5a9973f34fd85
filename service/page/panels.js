// The page's tabs, in order; each is shown when the bundle has its endpoint.

import { matchPanel } from "./match.js";

export const PANELS = [{ endpoint: "match", title: "True or false", open: matchPanel }];
