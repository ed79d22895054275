// Package safehttp is how a secret travels over HTTP, and who may ask a server.
//
// For clients:
//
//   - [Rule] says over which addresses a secret may travel: https, or http to
//     this machine. Each address that a settings file, or a description fetched
//     from elsewhere, names goes through it.
//   - [NewClient] follows redirects only where the credentials may go too: to
//     the host that was asked, or to one that is listed. net/http itself drops
//     Authorization and Cookie on the way to another host, but no header such
//     as X-Vault-Token, and no body.
//   - [NewProbe] asks no proxy of the environment.
//
// For servers, [Hosts] answers to the names that are meant, so that a page
// whose own name leads to this machine (DNS rebinding) reads nothing. The
// middleware of the repository's programs is this one; a sample that is copied
// elsewhere brings its own.
package safehttp
