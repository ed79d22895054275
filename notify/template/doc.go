// Package template words messages for a receiver with text/template.
//
//	t, err := template.New(&template.Options{
//		Subject: "[{{.Level}}] {{.Subject}}",
//		Text:    "{{.Text}}\nhost: {{.Fields.host}}",
//	})
//	…
//	receiver := notify.Receiver{Name: "ops", Notifier: mail, Format: t.Format}
//
// Mistakes are found by [New], not when there is an alert to send. It is a
// package of its own because text/template adds half a megabyte to a program.
package template
