package main

// Run is main, for tests that are their own worker processes.
var Run = run
