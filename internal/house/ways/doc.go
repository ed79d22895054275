// Package ways holds the test that each block tells of each way in which it can
// lose something or be stuck. The troubles are made by real parts: a small file
// system, a name server, a server with its own certificate, a stopped process.
package ways
