// Package watch keeps an eye on one site: on a schedule and when asked, it
// crawls the listing, stores what it finds, and tells the operator what
// changed or failed.
//
// A notice is handed on in this order: a log line, the notification hub, which
// returns once its outbox has the message, and only then the history forgets
// it. Whatever instant the process dies at, the notice is sent, at the worst
// twice and then with the same message ID.
package watch
