// Package doc reads, changes and writes settings documents: bytes on one side,
// a tree of nodes on the other. It knows YAML, JSON, JSONC and TOML, and no Go
// type, no layer and no file name.
//
// Parse gives a tree with the place of every value. Splice changes keys of a
// document and leaves the rest of its text alone. The Text functions write a
// tree.
package doc
