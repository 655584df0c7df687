// Makes the files pgpjs* of this folder anew, elsewhere: npm install openpgp@6.3.2; node make-openpgpjs.mjs FOLDER
import { writeFileSync } from 'node:fs';
import * as openpgp from 'openpgp';

const { aead, symmetric, compression } = openpgp.enums;
const text = 'Content-Type: text/plain; charset=utf-8\r\n\r\nThe offer to Cardiff stands: 4711 pounds.\r\n';
const folder = process.argv[2];
const save = (name, armoured) => writeFileSync(`${folder}/${name}.asc`, armoured.replace(/\r\n/g, '\n'));
const common = { preferredCompressionAlgorithm: compression.uncompressed, aeadProtect: true };

async function key(name, type, v6) {
  const { privateKey } = await openpgp.generateKey({
    type, userIDs: [{ name, email: `${name}@example.net` }], format: 'object',
    config: { v6Keys: v6, aeadProtect: true, preferredAEADAlgorithm: aead.ocb },
    date: new Date('2025-01-01T00:00:00Z'),
  });
  save(`${name}.key`, privateKey.armor());
  return privateKey;
}

async function encrypted(name, priv, mode, cipher, signed) {
  const recipient = priv.toPublic();
  // What is used is what the recipient's key prefers.
  for (const user of recipient.users) {
    for (const s of user.selfCertifications) prefer(s, mode, cipher);
  }
  for (const s of recipient.directSignatures) prefer(s, mode, cipher);
  const config = { ...common, preferredAEADAlgorithm: mode, preferredSymmetricAlgorithm: cipher, aeadChunkSizeByte: 12 };
  const armoured = await openpgp.encrypt({
    message: await openpgp.createMessage({ binary: new TextEncoder().encode(text) }),
    encryptionKeys: recipient, signingKeys: signed ? priv : undefined, config, format: 'armored',
  });
  const got = await openpgp.decrypt({ message: await openpgp.readMessage({ armoredMessage: armoured }), decryptionKeys: priv,
    verificationKeys: signed ? priv.toPublic() : undefined, expectSigned: signed, format: 'binary' });
  if (new TextDecoder().decode(got.data) !== text) throw new Error(name);
  const packets = (await openpgp.readMessage({ armoredMessage: armoured })).packets;
  const data = packets[packets.length - 1];
  if (data.version !== 2 || data.aeadAlgorithm !== mode || data.cipherAlgorithm !== cipher)
    throw new Error(`${name}: ${data.version} ${data.aeadAlgorithm} ${data.cipherAlgorithm}`);
  save(name, armoured);
}

function prefer(signature, mode, cipher) {
  signature.preferredCipherSuites = [[cipher, mode]];
  signature.preferredSymmetricAlgorithms = [cipher];
  signature.features = [openpgp.enums.features.modificationDetection | openpgp.enums.features.seipdv2];
}

const v6 = await key('pgpjs6', 'curve25519', true);
const v4 = await key('pgpjs4', 'ecc', false);
const v4new = await key('pgpjs4x', 'curve25519', false);
const v4rsa = await key('pgpjs4rsa', 'rsa', false);
for (const [mode, number] of [['eax', aead.eax], ['ocb', aead.ocb], ['gcm', aead.gcm]]) {
  for (const bits of [128, 192, 256]) {
    for (const [owner, priv] of [['pgpjs6', v6], ['pgpjs4', v4]]) {
      await encrypted(`${owner}-${mode}-aes${bits}`, priv, number, symmetric[`aes${bits}`], false);
    }
  }
  await encrypted(`pgpjs6-signed-${mode}`, v6, number, symmetric.aes256, true);
  await encrypted(`pgpjs4-signed-${mode}`, v4, number, symmetric.aes256, true);
  await encrypted(`pgpjs4x-signed-${mode}`, v4new, number, symmetric.aes256, true);
}
await encrypted('pgpjs4rsa-signed-ocb', v4rsa, aead.ocb, symmetric.aes256, true);
