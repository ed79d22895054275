// Package examples is documentation only: what the folders below it show.
//
//   - minimal: all four blocks in one file.
//   - adopt: an existing net/http service takes on one block at a time.
//   - service: the four blocks as one small service in Docker, readable at one sitting.
//   - shopwatch: the showcase, with what a deployment needs.
//   - retrieve: tables and lists of a web site into CSV and JSON Lines.
//   - features: what was retrieved, made ready for a model to learn from.
//   - ml: a model that learns from it, and serves predictions.
//   - fleet: scraping as a queue of work on more than one machine.
//   - logship: what waits in the folder of a log, and shipping it by hand.
//
// Each has a README that explains it. Every command in them is run by a test,
// see readme_test.go for how.
package examples
