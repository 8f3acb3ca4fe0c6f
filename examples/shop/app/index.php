<?php
// The orders of the shop: a list, and a form for each. The web server is the role www-data of the database.
declare(strict_types=1);

const UPLOADS = '/var/lib/shop/uploads';
const PHOTOS = [IMAGETYPE_JPEG => 'jpg', IMAGETYPE_PNG => 'png', IMAGETYPE_WEBP => 'webp'];

function h(mixed $text): string
{
    return htmlspecialchars((string) $text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

function refuse(int $status, string $why): never
{
    http_response_code($status);
    exit(h($why));
}

/** Keeps an uploaded picture under a name of our own, and gives that name. */
function photo(array $file): string
{
    $type = is_uploaded_file($file['tmp_name'] ?? '') ? getimagesize($file['tmp_name'])[2] ?? 0 : 0;
    $name = bin2hex(random_bytes(8)) . '.' . (PHOTOS[$type] ?? refuse(400, 'That is no JPEG, PNG or WebP picture.'));
    move_uploaded_file($file['tmp_name'], UPLOADS . "/$name") || refuse(500, 'The picture could not be kept.');
    chmod(UPLOADS . "/$name", 0644);
    return $name;
}

header("Content-Security-Policy: default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Strict', 'use_strict_mode' => true]);
$token = $_SESSION['token'] ??= bin2hex(random_bytes(32));
$db = new PDO('pgsql:dbname=shop');
$run = function (string $sql, array $values = []) use ($db): array {
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll(PDO::FETCH_ASSOC);
};
$statuses = array_column($run('SELECT unnest(enum_range(NULL::order_status)) AS status'), 'status');

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $posted = array_map(fn ($value) => is_string($value) ? $value : '', $_POST);
    hash_equals($token, $posted['token'] ?? '') || refuse(403, 'This form is not from this page. Reload it and try again.');
    $range = ['options' => ['min_range' => 1, 'max_range' => 2147483647]];
    $id = filter_var($posted['id'] ?? '', FILTER_VALIDATE_INT, $range) ?: refuse(400, 'No such number.');
    if (isset($_FILES['photo'])) {
        $run('UPDATE products SET photo = ? WHERE id = ?', [photo($_FILES['photo']), $id]);
    } else {
        in_array($posted['status'] ?? '', $statuses, true) || refuse(400, 'No such status.');
        $note = str_replace("\r\n", "\n", $posted['note'] ?? '');
        preg_match('/^[^\x00]{0,2000}$/Du', $note) || refuse(400, 'The note is too long, or no text.');
        $run('UPDATE orders SET status = ? WHERE id = ?', [$posted['status'], $id]);
        $run('UPDATE customers SET note = ? WHERE id = (SELECT customer_id FROM orders WHERE id = ?)', [$note, $id]);
    }
    header('Location: ./', true, 303);
    exit;
}

$orders = $run('SELECT o.id, o.status, o.ordered_on, c.name, c.email, c.note, t.items, t.total
    FROM orders o JOIN customers c ON c.id = o.customer_id JOIN order_totals t ON t.order_id = o.id
    ORDER BY o.ordered_on DESC, o.id DESC');
$products = $run('SELECT id, name, price, photo FROM products ORDER BY name');
?>
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shop</title>
<link rel="stylesheet" href="style.css">
<h1>Orders</h1>
<?php foreach ($orders as $order): ?>
<form method="post" class="card" id="order-<?= h($order['id']) ?>">
    <h2><?= h($order['name']) ?> <small>#<?= h($order['id']) ?>, <?= h($order['ordered_on']) ?></small></h2>
    <p><?= h($order['items']) ?> &mdash; <strong><?= h($order['total']) ?> &euro;</strong> &mdash; <?= h($order['email']) ?></p>
    <input type="hidden" name="token" value="<?= h($token) ?>">
    <input type="hidden" name="id" value="<?= h($order['id']) ?>">
    <label>Status
        <select name="status">
<?php foreach ($statuses as $status): ?>
            <option<?= $status === $order['status'] ? ' selected' : '' ?>><?= h($status) ?></option>
<?php endforeach ?>
        </select>
    </label>
    <label>Note on the customer <textarea name="note" rows="2" maxlength="2000"><?= h($order['note']) ?></textarea></label>
    <button>Save</button>
</form>
<?php endforeach ?>
<h1>Products</h1>
<?php foreach ($products as $product): ?>
<form method="post" class="card" enctype="multipart/form-data">
    <h2><?= h($product['name']) ?> <small><?= h($product['price']) ?> &euro;</small></h2>
<?php if ($product['photo']): ?>
    <img src="uploads/<?= h($product['photo']) ?>" alt="">
<?php endif ?>
    <input type="hidden" name="token" value="<?= h($token) ?>">
    <input type="hidden" name="id" value="<?= h($product['id']) ?>">
    <label>Photo <input type="file" name="photo" accept="image/jpeg,image/png,image/webp" required></label>
    <button>Upload</button>
</form>
<?php endforeach ?>
