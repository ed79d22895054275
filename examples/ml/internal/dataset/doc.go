// Package dataset reads the tables that examples/features writes, and makes
// tables of the same form where there are none.
//
// A folder holds train.csv and test.csv, whose last column is the label, and
// features.json, which names the features and the classes.
package dataset
