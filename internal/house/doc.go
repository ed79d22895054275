// Package house holds the rules of this repository as tests: what a package
// may import, that everything exported is documented and shown in an example,
// the exported API, and what each package weighs in a user's program.
//
// Run `go test ./internal/house -update` to accept a changed API and weights.
package house
