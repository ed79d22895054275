// Package typed turns trees of package doc into Go values and back: what a type
// can hold (Schema, Shape), decoding, encoding, copies, comparison, and the
// rules of struct tags. It knows no file, no layer and no bytes.
package typed
