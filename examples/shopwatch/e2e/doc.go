// Package e2e tests the built service against real parts: a private Tor
// network, a real postfix, and receivers that follow their documented
// protocols, in a namespace from which nothing else can be reached.
package e2e
