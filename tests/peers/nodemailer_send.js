// Sends one message with nodemailer, as its documentation shows: options and message are JSON on standard input, what
// the server answered is JSON on standard output. NODE_PATH says where nodemailer is.
const nodemailer = require("nodemailer");

const { transport, mail } = JSON.parse(require("fs").readFileSync(0, "utf8"));
nodemailer
    .createTransport(transport)
    .sendMail(mail)
    .then(({ accepted, rejected, response }) => console.log(JSON.stringify({ accepted, rejected, response })))
    .catch((error) => {
        console.log(JSON.stringify({ error: error.message, response: error.response }));
        process.exitCode = 1;
    });
