//go:build !race

package main_test

// buildFlags build the service as its tests are built.
var buildFlags []string
