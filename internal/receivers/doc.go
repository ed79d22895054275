// Package receivers holds tests which ship to real receivers and count what
// they have stored: a 2xx is no proof. It is a module of its own, as their
// dependencies must reach nobody.
package receivers
