// Package tests checks config/vault against a real Vault: it builds the server
// in the folder above, starts it and speaks to it over HTTP, so that none of
// Vault is linked into the tests.
package tests
